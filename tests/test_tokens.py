"""How long a prompt is, and whom it fits: an estimate with an error that holds, and what a closer look changes."""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest
from msgspec.structs import replace

from router.counter import Counter
from router.length import ERROR, Length, counted_length, estimated_length, estimated_tokens
from router.measuring import measured_for
from router.routing.fleet import Fleet, Pace, Target
from router.routing.passing import Money
from router.routing.policy import choose
from router.routing.tokens import fits, is_cramped, is_open
from tests.specimens import RULES, ask, cloud, local
from tests.test_counter import TEXT
from tests.vocabularies import byte_level, folder_of

VLLM = local(kind="vllm", context_tokens=1000)
OLLAMA = local(kind="ollama", context_tokens=1000)
# Texts, and what cl100k_base (tiktoken 0.14) makes of them.
COUNTED = [
    pytest.param("The quick brown fox jumps over the lazy dog. " * 40, 401, id="English"),
    pytest.param(
        "def total(rows: list[int]) -> int:\n    return sum(row for row in rows if row > 0)\n" * 20, 480, id="code"
    ),
    pytest.param("Wer hat gestern das Fenster im Treppenhaus offen gelassen? " * 30, 481, id="German"),
    pytest.param("水库满了以后多余的水从溢洪道流走。" * 30, 630, id="Chinese"),
    pytest.param("Когда озеро наполняется, вода уходит через водослив. " * 30, 751, id="Russian"),
    pytest.param('{"id": 4711, "name": "gap", "scores": [0.25, 0.5, 12.75]}\n' * 30, 930, id="JSON"),
]


@pytest.mark.parametrize(("text", "tokens"), COUNTED)
def test_the_estimate_is_within_its_error(text: str, tokens: int) -> None:
    assert abs(estimated_tokens(text) - tokens) <= ERROR * tokens
    length = estimated_length(text, 1)
    assert length.least <= tokens <= length.most


def test_a_text_twice_as_long_has_twice_the_tokens_and_none_has_none() -> None:
    assert estimated_tokens("") == 0
    assert estimated_tokens(TEXT * 2) == pytest.approx(2 * estimated_tokens(TEXT))
    assert estimated_length("", 3).least == 0


def test_half_a_character_does_not_stop_it() -> None:
    assert estimated_tokens("\ud800 and so on") > 0


@pytest.mark.parametrize(
    ("target", "asked", "expected"),
    [
        pytest.param(VLLM, {"prompt_bytes": 8000}, True, id="few enough bytes for any vocabulary"),
        pytest.param(VLLM, {"prompt_bytes": 8001}, False, id="too many bytes for any"),
        pytest.param(VLLM, {"lengths": (Length(900, 1100),)}, True, id="an engine counts again what may fit"),
        pytest.param(VLLM, {"lengths": (Length(1001, 1100),)}, False, id="what cannot fit"),
        pytest.param(VLLM, {"lengths": (Length(900, 1100),), "max_tokens": 101}, False, id="no room for the answer"),
        pytest.param(VLLM, {"prompt_bytes": 8, "max_tokens": 1000}, False, id="an answer as long as the context"),
        pytest.param(local(context_tokens=1000), {"max_tokens": 5000}, True, id="servers of others cut the answer"),
        pytest.param(cloud(context_tokens=1000), {"max_tokens": 5000}, True, id="clouds bound answers apart"),
        pytest.param(OLLAMA, {"lengths": (Length(900, 1000),)}, True, id="an Ollama has it whole"),
        pytest.param(OLLAMA, {"lengths": (Length(900, 1001),)}, False, id="an Ollama might cut it"),
        pytest.param(OLLAMA, {"prompt_bytes": 3700}, False, id="an Ollama that the usual text would fill"),
        pytest.param(
            VLLM,
            {"lengths": (Length(1001, 1001, frozenset({"other"})), Length(700, 1300))},
            True,
            id="counted for another model",
        ),
        pytest.param(
            VLLM,
            {"lengths": (Length(1001, 1001, frozenset({"smoke"})), Length(700, 1300))},
            False,
            id="counted for this model",
        ),
    ],
)
def test_a_prompt_fits_or_not(target: Target, asked: dict[str, Any], expected: bool) -> None:
    assert fits(ask(**asked), target) is expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param({"prompt_bytes": 1000}, False, id="surely fits"),
        pytest.param({"prompt_bytes": 1001}, True, id="may be too long"),
        pytest.param({"prompt_bytes": 8001}, False, id="surely too long"),
        pytest.param({"prompt_bytes": 200, "max_tokens": 900}, True, id="too long with its answer"),
        pytest.param({"prompt_bytes": 4000, "lengths": (Length(700, 1300),)}, True, id="within the estimate's error"),
        pytest.param({"prompt_bytes": 4000, "lengths": (Length(700, 900),)}, False, id="the estimate is enough"),
        pytest.param({"lengths": (Length(990, 1010, frozenset({"smoke"})),)}, False, id="it was counted"),
    ],
)
def test_it_is_looked_at_closely_only_where_that_decides(asked: dict[str, Any], expected: bool) -> None:
    assert is_open(ask(**asked), VLLM) is expected


def asked(text: str, **more: Any) -> Any:
    body = b'{"model":"auto","messages":[{"role":"user","content":"%b"}]}' % text.replace("\n", "\\n").encode()
    return ask(raw=body, prompt_bytes=len(text.encode()) + 4, **more)


async def test_most_prompts_are_not_looked_at() -> None:
    question = asked("Where does the water go?")
    assert await measured_for([VLLM], question, {}, Counter().count) is question


async def test_without_a_tokenizer_there_is_an_estimate() -> None:
    (length,) = (await measured_for([VLLM], asked(TEXT), {}, Counter().count)).lengths
    assert length == estimated_length(f"user\n{TEXT}", 1)


async def test_where_the_estimate_leaves_it_open_the_models_own_tokenizer_counts(tmp_path: Any) -> None:
    made = byte_level()
    path = str(folder_of(made, tmp_path / "model") / "tokenizer.json")
    estimate = estimated_length(f"user\n{TEXT}", 1)
    tokens = len(made.encode(f"user\n{TEXT}", add_special_tokens=False).ids)
    near = replace(VLLM, context_tokens=(estimate.least + estimate.most) // 2)
    far = replace(VLLM, context_tokens=estimate.most + 10, models=frozenset({"large"}))
    counter = Counter()
    found = await measured_for([near, far], asked(TEXT), {"smoke": path, "large": "nowhere"}, counter.count)
    await counter.close()
    assert found.lengths == (counted_length(tokens, 1, frozenset({"smoke"})), estimate)


async def test_token_ids_count_as_what_they_are() -> None:
    body = b'{"model":"auto","prompt":[%b]}' % b",".join([b"7"] * 2000)
    (length,) = (await measured_for([VLLM], ask(raw=body, prompt_bytes=8000), {}, Counter().count)).lengths
    assert length.least == 2000


async def test_what_is_no_text_is_not_counted_as_text() -> None:
    image = base64.b64encode(random.Random(1).randbytes(6000))
    part = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,%b"}}' % image
    body = b'{"model":"auto","messages":[{"role":"user","content":[%b,{"type":"text","text":"What?"}]}]}' % part
    (length,) = (await measured_for([VLLM], ask(raw=body, prompt_bytes=2000), {}, Counter().count)).lengths
    assert length.least < 20


@pytest.mark.parametrize(
    ("lengths", "answer_tokens", "max_tokens", "expected"),
    [
        pytest.param((), 900.0, None, False, id="nobody has looked"),
        pytest.param((Length(700, 700),), 250.0, None, False, id="room for an answer as they usually are"),
        pytest.param((Length(850, 850),), 200.0, None, True, id="no room for one"),
        pytest.param((Length(700, 700),), 5000.0, None, False, id="answers that would fill any context"),
        pytest.param((Length(850, 850),), 200.0, 100, False, id="a client that wants a short one"),
        pytest.param((Length(600, 1000),), 250.0, None, True, id="an estimate counts by its middle"),
    ],
)
def test_a_context_is_cramped_that_leaves_no_room_for_the_answer(
    lengths: tuple[Length, ...], answer_tokens: float, max_tokens: int | None, expected: bool
) -> None:
    target = replace(VLLM, pace=Pace(answer_tokens=answer_tokens))
    assert is_cramped(ask(lengths=lengths, max_tokens=max_tokens), target) is expected


def test_a_conversation_moves_up_before_its_answers_are_cut() -> None:
    money, question = Money(10.0), ask(tier="standard", lengths=(Length(900, 900),))
    both, alone = Fleet((VLLM, cloud())), Fleet((VLLM,))
    up = choose(question, both, RULES, money)
    assert ([each.name for each in up.targets], up.reason) == (["cloud/nano", "local/smoke"], "escalate:context")
    # A short answer is better than none.
    assert [each.name for each in choose(question, alone, RULES, money).targets] == ["local/smoke"]
    assert [each.name for each in choose(question, both, RULES, Money(0.0)).targets] == ["local/smoke"]
