"""Who has read which prompt: what a request's prefixes are, and what is known of them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ask import Ask, Endpoint, read_ask
from router.prefixes import MOST_BYTES, MOST_PREFIXES, STEP_BYTES, prefix_bytes
from router.routing.affinity import MOST_HOMES, Affinity
from router.tables.read import parse_rules

AFFINE = parse_rules(
    {"tiers": {"standard": {"ttft_target_s": 2.0, "strategy": {"least_busy": 1.0, "affinity": 0.5}}}}, "affine.toml"
)
PLAIN = parse_rules({"tiers": {"standard": {"ttft_target_s": 2.0, "strategy": {"cheapest": 1.0}}}}, "plain.toml")
SYSTEM, QUESTION = {"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "Where am I?"}
ANSWER, MORE = {"role": "assistant", "content": "Here."}, {"role": "user", "content": "And where is that?"}


def chat(*messages: dict[str, Any], **fields: Any) -> tuple[int, ...]:
    body = {"model": "auto", "messages": messages, **fields}
    return read_ask(json.dumps(body).encode(), {}, Endpoint.CHAT, AFFINE).prefixes


def completion(prompt: object) -> tuple[int, ...]:
    return read_ask(json.dumps({"model": "auto", "prompt": prompt}).encode(), {}, Endpoint.COMPLETION, AFFINE).prefixes


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def test_the_next_turn_begins_with_the_whole_turn_before() -> None:
    first, second = chat(SYSTEM, QUESTION), chat(SYSTEM, QUESTION, ANSWER, MORE)
    assert second[: len(first)] == first
    assert len(set(second)) == 3
    assert prefix_bytes(second[-1]) > prefix_bytes(first[-1]) > prefix_bytes(first[1]) > 0


def test_a_conversation_has_one_name_in_all_its_turns() -> None:
    assert chat(SYSTEM, QUESTION)[0] == chat(SYSTEM, QUESTION, ANSWER, MORE)[0]
    assert chat(QUESTION)[0] == chat(QUESTION, ANSWER, MORE)[0]
    assert chat(SYSTEM, QUESTION)[0] != chat(SYSTEM, MORE)[0]


def test_conversations_of_the_same_instructions_have_them_in_common() -> None:
    assert set(chat(SYSTEM, QUESTION)) & set(chat(SYSTEM, MORE)) == {chat(SYSTEM, QUESTION)[1]}


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(chat(user("Where am i?")), id="another letter"),
        pytest.param(chat({"role": "tool", "content": "Where am I?"}), id="another role"),
        pytest.param(chat(QUESTION, user="somebody"), id="another tenant"),
        pytest.param(chat(QUESTION, tools=[{"type": "function", "function": {"name": "look"}}]), id="tools"),
        pytest.param(chat({**QUESTION, "name": "Ada"}), id="another field"),
        pytest.param(chat({"role": "user", "content": [{"type": "text", "text": "Where am I?"}]}), id="in parts"),
    ],
)
def test_what_differs_has_nothing_in_common(other: tuple[int, ...]) -> None:
    assert not set(other) & set(chat(QUESTION))


def test_long_texts_that_begin_alike_are_found_by_steps() -> None:
    document = "The river rose in the night. " * 1000
    one, other = chat(user(document + "Why?")), chat(user(document + "When?"))
    common = [prefix for prefix in one if prefix in other]
    assert len(common) == len(document) // STEP_BYTES
    assert prefix_bytes(max(common, key=prefix_bytes)) == len(document) // STEP_BYTES * STEP_BYTES
    assert set(completion(document + "Why?")) & set(completion(document + "When?"))


def test_of_an_endless_prompt_only_the_beginning_is_read() -> None:
    endless = "x" * (3 * MOST_BYTES)
    for found in (chat(user(endless)), completion(endless), chat(*[user("Go on.")] * 500)):
        assert len(found) == MOST_PREFIXES + 1


@pytest.mark.parametrize("prompt", ["Once upon a time", ["Once upon a time", "Or twice"], [5, 6, 7], [[5, 6, 7], [8]]])
def test_a_prompt_is_found_again_in_each_of_its_forms(prompt: object) -> None:
    assert completion(prompt) == completion(prompt)
    assert completion(prompt) != completion("Another")


@pytest.mark.parametrize("prompt", ["", []])
def test_an_empty_prompt_has_no_home(prompt: object) -> None:
    assert completion(prompt) == ()


def test_where_no_strategy_asks_for_it_nothing_is_read() -> None:
    body = json.dumps({"model": "auto", "messages": [QUESTION]}).encode()
    asks: list[Ask] = [read_ask(body, {}, Endpoint.CHAT, rules) for rules in (PLAIN, AFFINE)]
    assert [bool(each.prefixes) for each in asks] == [False, True]


@pytest.mark.parametrize(
    "tables",
    [
        pytest.param({"tasks": {"t": {"tier": "standard", "strategy": {"affinity": 1.0}}}}, id="a task"),
        pytest.param({"routes": [{"name": "r", "strategy": {"affinity": 1.0}}]}, id="a route"),
    ],
)
def test_it_is_read_where_any_table_asks_for_it(tables: dict[str, Any]) -> None:
    rules = parse_rules({"tiers": {"standard": {"ttft_target_s": 2.0}}, **tables}, "some.toml")
    assert rules.wants_affinity
    assert not PLAIN.wants_affinity


def test_another_process_reads_the_same() -> None:
    said = "import tests.test_affinity as t; print(*t.chat(t.SYSTEM, t.QUESTION))"
    found = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True, timeout=60).stdout
    assert tuple(map(int, found.split())) == chat(SYSTEM, QUESTION)


def test_nothing_is_known_at_first() -> None:
    table = Affinity()
    assert table.held(chat(QUESTION)) == {}
    assert table.home(chat(QUESTION)) == (None, 0)
    assert chat(QUESTION)[0] not in table


def test_the_next_turn_finds_who_read_the_one_before() -> None:
    table, first, second = Affinity(), chat(SYSTEM, QUESTION), chat(SYSTEM, QUESTION, ANSWER, MORE)
    table.seen(first, "local/a")
    assert table.held(second) == {"local/a": prefix_bytes(first[-1])}
    assert table.home(second) == ("local/a", prefix_bytes(first[-1]))
    assert second[0] in table


def test_several_may_have_read_the_same_instructions() -> None:
    table = Affinity()
    table.seen(chat(SYSTEM, QUESTION), "local/a")
    table.seen(chat(SYSTEM, MORE), "local/b")
    asked = chat(SYSTEM, QUESTION)
    assert table.held(asked) == {"local/a": prefix_bytes(asked[-1]), "local/b": prefix_bytes(asked[1])}
    assert table.home(asked) == ("local/a", prefix_bytes(asked[-1]))


def test_of_many_the_newest_are_known() -> None:
    table = Affinity()
    for number in range(MOST_HOMES + 2):
        table.seen(chat(QUESTION), f"local/{number}")
    table.seen(chat(QUESTION), "local/3")
    assert set(table.held(chat(QUESTION))) == {"local/2", "local/3", "local/4", "local/5"}
    assert table.home(chat(QUESTION))[0] == "local/3"


def test_what_was_not_sent_for_longest_is_forgotten_first() -> None:
    table = Affinity(most=2)
    one, two, three = (chat(user(text)) for text in ("one", "two", "three"))
    table.seen(one, "local/a")
    table.seen(two, "local/b")
    table.seen(one, "local/a")
    table.seen(three, "local/c")
    assert [table.home(each)[0] for each in (one, two, three)] == ["local/a", None, "local/c"]


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.sampled_from("abcdefgh")), max_size=60)
)
def test_the_table_stays_within_its_bound_and_knows_what_came_last(told: list[tuple[list[int], str]]) -> None:
    table = Affinity(most=16)
    for prefixes, target in told:
        table.seen(prefixes, target)
        assert len(table) <= 16
        assert table.home(prefixes)[0] == target
        assert all(len(table.held([prefix])) <= MOST_HOMES for prefix in prefixes)
