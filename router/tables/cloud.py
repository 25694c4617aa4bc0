"""`[clouds.NAME]`: a deployment, which is one model at one provider."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from router.tables.quota import Quota
from router.tables.table import Count, Flag, Number, Size, Usd

MODEL_STRING = r"^[^/]+/.+$"


class Cloud(Quota):
    """`model` is a litellm model string, with the provider's name for it, best pinned to a version.

    Keys and limits are those of the table `[providers.<provider>]`, by default the one of the model's prefix; or
    `key_env` names a key of its own. `serves` names models whose place it is, in addition to the twins of models.lock.
    Prices, context and capabilities that are left out come from models.lock or from litellm's table.
    `output_tokens_per_s` is what one stream gets there until it has been measured, `weight` its share among others.
    """

    model: Annotated[str, Field(pattern=MODEL_STRING)]
    provider: str | None = None
    key_env: str | None = None
    base_url: str | None = None
    optional: Flag = False
    off: Flag = False
    serves: tuple[str, ...] = ()
    size: Size | None = None
    input_usd_per_mtok: Usd | None = None
    output_usd_per_mtok: Usd | None = None
    context_tokens: Count | None = None
    capabilities: tuple[str, ...] | None = None
    output_tokens_per_s: Annotated[Number, Field(gt=0)] | None = None
    weight: Annotated[Number, Field(gt=0, le=1000)] = 1.0

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> Cloud:
        if self.provider is not None and self.key_env is not None:
            raise ValueError("has both provider and key_env; keys come from one of them")
        return self

    @property
    def kind(self) -> str:
        """Whose wire format it speaks: litellm's name of the provider."""
        return self.model.partition("/")[0]
