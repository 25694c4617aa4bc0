"""Does a whole answer have the form that its request asked for?"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from router.health.schema import complaint
from router.whole import misfit

PERSON = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
ENDLESS = '"' + "a" * 40 + '!"'
# Each of sixty definitions refers to the next one twice.
STEPS = {f"a{at}": {"allOf": [{"$ref": f"#/$defs/a{at + 1}"}] * 2} for at in range(60)}
DOUBLING = {"$defs": STEPS | {"a60": {"type": "object"}}, "$ref": "#/$defs/a0"}


def schema(wanted: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "person", "schema": wanted}}


@pytest.mark.parametrize(
    ("wanted", "text", "said"),
    [
        ({"type": "json_object"}, '{"a": 1}', None),
        ({"type": "json_object"}, "[1]", "is JSON and no object"),
        ({"type": "json_object"}, "Sure! {}", "is not JSON"),
        (schema(PERSON), '{"age": 7}', None),
        (schema(PERSON), '{"age": "7"}', "at $.age: '7' is not of type 'integer'"),
        (schema(PERSON), "{}", "'age' is a required property"),
        (schema(PERSON), '```json\n{"age": 7}\n```', "is not JSON"),
        (schema({"type": "strin"}), "{}", None),
        (schema({"$ref": "http://127.0.0.1:9/schema.json"}), "{}", None),
        (schema({"$ref": "#/nowhere"}), "{}", None),
        (schema({"$ref": "#"}), "{}", None),
        (schema({"type": ["object", "number"], "$ref": "#/type/x"}), "{}", None),
        (schema({"minProperties": 3, "$ref": "#/minProperties"}), "{}", None),
        (schema({"type": "string", "pattern": "(a+)+$"}), ENDLESS, None),
        (schema({"$defs": {"a": {"$schema": DRAFT_7, "pattern": "^(a+)+$"}}, "$ref": "#/$defs/a"}), ENDLESS, None),
        (schema(DOUBLING), "{}", None),
        (schema(DOUBLING | {"unevaluatedProperties": False}), "{}", None),
        (schema(PERSON | {"title": "x" * 100_000}), "{}", None),
        (schema(PERSON | {"$schema": DRAFT_7}), "{}", "'age' is a required property"),
        ({"type": "json_schema"}, "{}", None),
        ({"type": "text"}, "anything", None),
        ({"type": ["odd"]}, "anything", None),
    ],
    ids=[
        "an object",
        "no object",
        "no JSON",
        "it fits",
        "a wrong type",
        "a field is missing",
        "JSON in a fence",
        "no schema itself",
        "a schema elsewhere",
        "a reference to nothing",
        "a schema of itself",
        "a reference to a list",
        "a reference to a number",
        "a pattern that would take for ever",
        "such a pattern in another dialect",
        "references that double at each step",
        "references that double, and what they leave",
        "a schema as long as a book",
        "another dialect",
        "none given",
        "text",
        "nonsense",
    ],
)
def test_an_answer_is_held_against_what_was_asked_for(wanted: dict[str, Any], text: str, said: str | None) -> None:
    found = complaint(wanted, text)
    assert (found is None) == (said is None), found
    assert (said or "") in (found or "")


def whole(*choices: dict[str, Any]) -> bytes:
    return orjson.dumps({"choices": list(choices)})


def says(text: str | None, finish_reason: str = "stop") -> dict[str, Any]:
    return {"finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        (whole(says('{"age": 7}')), True),
        (whole(says("seven")), False),
        (whole(says('{"age": 7}'), says("seven")), False),
        (whole(says('{"age": ', "length")), True),
        (whole(says(None, "tool_calls")), True),
        (b"{}", True),
    ],
    ids=["it fits", "it does not", "one of two", "cut short by the client's bound", "a tool instead", "no answer"],
)
def test_every_choice_of_an_answer_is_looked_at(body: bytes, fits: bool) -> None:
    assert (misfit(schema(PERSON), body) is None) is fits
    assert misfit(None, body) is None
