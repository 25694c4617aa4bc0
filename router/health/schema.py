"""Does an answer have the form that the request asked for?

Pure: `response_format` and text in, a complaint out. Only whole answers can be looked at before the client has them;
a stream is not held back for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

KEPT_SCHEMAS = 64
LONGEST_COMPLAINT = 200


def _unchecked(_validator: Any, _value: Any, _instance: Any, _schema: Any) -> Iterator[ValidationError]:
    return iter(())


# A pattern of a client's may take for ever on the text that it is given, and everybody would wait for it.
CHECKS: Any = extend(Draft202012Validator, {"pattern": _unchecked, "patternProperties": _unchecked})


def complaint(wanted: Mapping[str, Any], text: str) -> str | None:
    """What is wrong with an answer's text by the `response_format` of its request; None: nothing, or nothing that could
    be checked here, such as a schema that refers to another one on the network or is none."""
    kind = wanted.get("type")
    if kind not in ["json_object", "json_schema"]:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"is not JSON: {error}"
    if kind == "json_object":
        return None if isinstance(value, dict) else "is JSON and no object"
    named = wanted.get("json_schema")
    schema = named.get("schema") if isinstance(named, dict) else None
    return _broken(schema, value) if isinstance(schema, dict) else None


def _broken(schema: Mapping[str, Any], value: Any) -> str | None:
    try:
        checks = _checks(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS))
        error = None if checks is None else best_match(checks.iter_errors(value))
    except (Unresolvable, RecursionError):
        return None
    return None if error is None else f"at {error.json_path}: {error.message[:LONGEST_COMPLAINT]}"


@lru_cache(maxsize=KEPT_SCHEMAS)
def _checks(schema: bytes) -> Any:
    """None for what is no schema. An empty registry, so that nothing is fetched from where a schema points to."""
    parsed = orjson.loads(schema)
    try:
        CHECKS.check_schema(parsed)
    except SchemaError:
        return None
    return CHECKS(parsed, registry=Registry())
