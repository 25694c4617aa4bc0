"""The `[models.*]` tables of stack.toml: what the user wants on their own hardware.

Knows the file and its keys; not what a model is (models.lock) nor where it will run (the plan). The router's tables are
read by the router; here only their names are known, so that a misspelt table is an error wherever it is read.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, Strict, TypeAdapter
from pydantic.dataclasses import dataclass

from engines.tables import TableError, check_table, read_toml, unknown_key

ROUTER_TABLES = ("endpoint", "tiers", "tasks", "clouds", "limits")
# Flags that Spillway sets itself: given twice, the last one would win without a word.
OWN_FLAGS = (
    "--model",
    "--host",
    "--port",
    "--served-model-name",
    "--max-model-len",
    "--max-num-seqs",
    "--tensor-parallel-size",
    "--num-gpu-blocks-override",
    "--gpu-memory-utilization",
    "--shutdown-timeout",
    "--quantization",
    "--dtype",
    "--api-key",
    "--api-server-count",
)

Count = Annotated[int, Strict(), Field(gt=0)]


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class WantedModel:
    """One `[models.<name>]` table; the name is the key of the mapping that holds it."""

    context_tokens: Count
    engine: Literal["vllm"] = "vllm"
    max_num_seqs: Count = 64
    tensor_parallel: Count = 1
    cpu_kv_cache_gib: Annotated[Count, Field(le=4096)] = 1
    kv_blocks: Annotated[int, Strict(), Field(ge=2)] | None = None
    quantization: str | None = None
    extra_args: tuple[str, ...] = ()


WANTED = TypeAdapter(WantedModel)
KEYS = tuple(field.name for field in fields(WantedModel))


def read_config(path: Path) -> dict[str, WantedModel]:
    """The wanted models by name, in the file's order. Raises TableError naming file, table and key."""
    raw = read_toml(path)
    for table in raw:
        if table not in ("models", *ROUTER_TABLES):
            raise TableError(unknown_key(path, "", f"[{table}]", [f"[{name}]" for name in ("models", *ROUTER_TABLES)]))
    tables = raw.get("models", {})
    if not isinstance(tables, dict) or not tables:
        raise TableError(f"{path}: no model is wanted. Add a table such as [models.smoke] with context_tokens = 4096.")
    wanted = {name: check_table(WANTED, table, path, f"models.{name}", KEYS) for name, table in tables.items()}
    for name, model in wanted.items():
        _check_extra_args(path, name, model)
    return wanted


def _check_extra_args(path: Path, name: str, model: WantedModel) -> None:
    for argument in model.extra_args:
        flag = argument.split("=", 1)[0]
        if flag in OWN_FLAGS:
            raise TableError(
                f"{path}: [models.{name}] extra_args must not hold {flag}: Spillway sets it. "
                "Use the key of this table that stands for it, if there is one."
            )
