"""Reads stack.toml: TOML in, Rules out, or a complaint that names file, table and key and says how to mend it."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from router.tables.chain import Chain
from router.tables.checks import complaints
from router.tables.cloud import MODEL_STRING, Cloud
from router.tables.comparison import Shadow, Split
from router.tables.endpoint import Endpoint
from router.tables.job import Job, Use
from router.tables.limits import Limits
from router.tables.preset import Preset
from router.tables.provider import Provider
from router.tables.route import Route
from router.tables.rules import Rules
from router.tables.table import NAME, ConfigError, Table
from router.tables.task import Task
from router.tables.tier import Tier

# Read by the engines alone. Of [models] and [external] the router knows a little.
ENGINE_TABLES = frozenset({"gpus"})
TABLES: Mapping[str, type[Table]] = {
    "endpoint": Endpoint,
    "tiers": Tier,
    "tasks": Task,
    "presets": Preset,
    "providers": Provider,
    "clouds": Cloud,
    "chains": Chain,
    "routes": Route,
    "shadows": Shadow,
    "splits": Split,
    "jobs": Job,
    "limits": Limits,
}


def load_rules(path: Path) -> Rules:
    """Read and validate `path`. Raises ConfigError."""
    try:
        return rules_of(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name another file with --config") from error


def rules_of(content: bytes, source: str) -> Rules:
    """Validate the content of a stack.toml. Raises ConfigError."""
    try:
        tables = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from error
    return parse_rules(tables, source)


def parse_rules(tables: Mapping[str, Any], source: str) -> Rules:
    """Validate the router's tables of an already parsed stack.toml. Raises ConfigError with all complaints."""
    own = {name: table for name, table in tables.items() if name not in ENGINE_TABLES}
    try:
        rules = Rules.model_validate(own)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(source, each) for each in error.errors())) from error
    found = complaints(rules)
    if found:
        raise ConfigError("\n".join(f"{source}: {each}" for each in found))
    return rules


def _sentence(source: str, error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        return f"{source}: {_where(location[:-1])}unknown key {location[-1]!r}{_meant(location)}"
    if error["type"] == "value_error":
        return f"{source}: {_where(location)}{error['msg'].removeprefix('Value error, ')}"
    pattern = error.get("ctx", {}).get("pattern")
    example = A_TIER.get(error["type"]) if location == ["tiers"] else None
    message = (
        example or PATTERNS.get(pattern) or MESSAGES.get(error["type"]) or error["msg"].replace("Input should", "must")
    )
    return f"{source}: {_where(location[:-1])}{location[-1]}: {message}"


# Without a tier nothing goes anywhere, and one is enough.
A_TIER = {
    "missing": "is missing; write as the first line of the file, for example: tiers.standard = { ttft_target_s = 2.0 }",
    "too_short": "is empty; write below [tiers], for example: standard = { ttft_target_s = 2.0 }",
}
PATTERNS = {
    NAME: 'must begin with a letter or digit, and have only these and ".", "_" or "-"',
    MODEL_STRING: 'must be like "provider/model", as litellm calls it',
}
# In the words of TOML, not of Python.
MESSAGES = {
    "missing": "is missing",
    "too_short": "is empty; name at least one",
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list, in [ ]",
    "dict_type": "must be a table, like { name = value }",
    "model_type": "must be a table, like { name = value }",
}


def _table(location: list[str]) -> type[Table]:
    """What a key belongs to: the one table of a table is that of a job's task."""
    return Use if location[0] == "jobs" and "tasks" in location[2:-1] else TABLES[location[0]]


def _where(location: list[str]) -> str:
    return f"[{'.'.join(location)}]: " if location else ""


def _meant(location: list[str]) -> str:
    known = [*Rules.model_fields, *ENGINE_TABLES] if len(location) == 1 else list(_table(location).model_fields)
    close = difflib.get_close_matches(location[-1], known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
