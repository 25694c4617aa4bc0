"""What every table of stack.toml is: frozen, typed, and strict about keys that it does not know."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

# What a value is, it is in TOML: text that looks like a number is none. So each number and each flag is one of these.
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Usd = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Whole = Annotated[int, Field(strict=True)]
Count = Annotated[int, Field(gt=0, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Share = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False, strict=True)]
Part = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False, strict=True)]
Name = Annotated[str, Field(pattern=NAME)]
# Of a model, by what it can rather than by its bytes: a task may prefer a class where no preset names a model.
Size = Literal["small", "medium", "large", "frontier"]


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


# One name stands for a list of one.
Names = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]


class ConfigError(ValueError):
    """stack.toml cannot be used; the text names file, table and key and says how to mend it."""


class Table(BaseModel):
    """A table of stack.toml: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
