"""Does an answer have the form that the request asked for?

Pure: `response_format` and text in, a complaint out. Only whole answers can be looked at before the client has them;
a stream is not held back for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend
from referencing import Registry

KEPT_SCHEMAS = 64
LONGEST_COMPLAINT = 200
# What is longer takes too long to go through, for no stream goes on meanwhile.
LONGEST_SCHEMA_BYTES = 65_536
# For one answer. Each definition may refer to the next one twice, so that a short schema asks for endless work.
MOST_REFERENCES = 1_000
# In a part of a schema it names another dialect, whose own rules would be used there instead of these.
DIALECT = "$schema"


class _TooMuchWork(Exception):
    """A schema refers to so much that nobody may wait for it."""


def _unchecked(_validator: Any, _value: Any, _instance: Any, _schema: Any) -> Iterator[ValidationError]:
    return iter(())


# A pattern of a client's may take for ever on the text that it is given, and everybody would wait for it. What is left
# unevaluated is found by ways through all references that nobody counts.
UNCHECKED: Mapping[str, Any] = dict.fromkeys(
    ("pattern", "patternProperties", "unevaluatedItems", "unevaluatedProperties"), _unchecked
)


class Checks:
    """A schema of a client's, which follows so many references for each answer and no more.

    Whether it is one at all nobody asks: that takes 50 µs a byte, and whoever was to obey it has judged it already.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        followed = {keyword: self._counted(keyword) for keyword in ("$ref", "$dynamicRef")}
        kind: Any = extend(Draft202012Validator, {**UNCHECKED, **followed})
        # An empty registry, so that nothing is fetched from where a schema points to.
        self._validator = kind(schema, registry=Registry())
        self._left = 0

    def worst(self, value: Any) -> ValidationError | None:
        """What is most wrong with the value. Raises whatever the library does."""
        self._left = MOST_REFERENCES
        return best_match(self._validator.iter_errors(value))

    def _counted(self, keyword: str) -> Callable[..., Iterator[ValidationError]]:
        follow: Any = Draft202012Validator.VALIDATORS[keyword]

        def check(validator: Any, reference: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
            self._left -= 1
            if self._left < 0:
                raise _TooMuchWork
            yield from follow(validator, reference, instance, schema)

        return check


def complaint(wanted: Mapping[str, Any], text: str) -> str | None:
    """What is wrong with an answer's text by the `response_format` of its request; None: nothing, or nothing that could
    be checked here, such as a schema that is none, is very long or refers to another one on the network."""
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
    own = {keyword: each for keyword, each in schema.items() if keyword != DIALECT}
    try:
        checks = _checks(orjson.dumps(own, option=orjson.OPT_SORT_KEYS))
        error = None if checks is None else checks.worst(value)
    except Exception:
        # Of what is no schema the library raises anything, as of a reference to it: nobody can tell what was meant.
        return None
    return None if error is None else f"at {error.json_path}: {error.message[:LONGEST_COMPLAINT]}"


@lru_cache(maxsize=KEPT_SCHEMAS)
def _checks(schema: bytes) -> Checks | None:
    """None for what cannot be judged without harm."""
    if len(schema) > LONGEST_SCHEMA_BYTES or b'"' + DIALECT.encode() + b'"' in schema:
        return None
    return Checks(orjson.loads(schema))
