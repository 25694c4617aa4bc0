"""The measurement of prefix caches: the fake engine's cache, the conversations, and the verb with real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.batch import Batch, Limits, Sequence, add, step
from benchmarks.exposition import BLOCK_TOKENS
from benchmarks.prefix_cache import BLOCK_BYTES, PrefixCache
from benchmarks.talks import Talks, rounds
from tests.stand_ins import standing_in

SMALL = Talks(conversations=6, turns=3, shared_words=60, question_words=60, answer_words=20)


def told(blocks: int, letter: str = "x") -> str:
    """So many whole blocks, and a little more."""
    return letter * (blocks * BLOCK_BYTES + 1)


def test_what_was_read_before_is_found_again_in_whole_blocks() -> None:
    cache = PrefixCache(100 * BLOCK_TOKENS)
    assert cache.read(told(3)) == 0
    assert cache.read(told(3)) == 3 * BLOCK_TOKENS
    assert cache.read(told(3) + "and now for something longer" * 10) == 3 * BLOCK_TOKENS
    assert (cache.hit_tokens, cache.queried_tokens) == (6 * BLOCK_TOKENS, 49 + 49 + 119)


def test_the_same_words_after_others_are_not_the_same() -> None:
    cache = PrefixCache(100 * BLOCK_TOKENS)
    cache.read(told(3))
    assert cache.read("y" + told(3)) == 0


def test_something_is_always_left_to_compute() -> None:
    cache = PrefixCache(100 * BLOCK_TOKENS)
    cache.read("x" * 2 * BLOCK_BYTES)
    assert cache.read("x" * 2 * BLOCK_BYTES) == BLOCK_TOKENS


def test_what_was_not_read_for_longest_goes_first_and_from_its_end() -> None:
    cache = PrefixCache(4 * BLOCK_TOKENS)
    cache.read(told(3))
    cache.read(told(2, "y"))
    assert cache.read(told(2, "y")) == 2 * BLOCK_TOKENS
    assert cache.read(told(3)) == 2 * BLOCK_TOKENS


def test_no_room_is_no_cache() -> None:
    cache = PrefixCache(0)
    assert [cache.read(told(3)), cache.read(told(3)), cache.queried_tokens] == [0, 0, 0]


def test_what_is_cached_takes_no_time() -> None:
    limits = Limits(step_s=0.0, prefill_tokens_per_s=100.0)
    for cached_tokens, seconds in ((0, 1.0), (80, 0.2)):
        _, done = step(add(Batch(), Sequence("one", 100, 5, cached_tokens=cached_tokens)), limits)
        assert done.duration_s(limits) == pytest.approx(seconds)


def test_each_turn_begins_with_the_whole_turn_before_and_another_run_tells_something_else() -> None:
    first, second, third = ({messages[1]["content"]: messages for messages in sent} for sent in rounds(SMALL, 1))
    assert len(first) == 6
    for question, messages in first.items():
        assert [len(each[question]) for each in (first, second, third)] == [2, 4, 6]
        assert second[question][:2] == messages
        assert third[question][:4] == second[question]
    instructions = {messages[0]["content"] for messages in first.values()}
    assert len(instructions) == 1
    assert instructions.isdisjoint(next(rounds(SMALL, 2))[0][0].values())


def test_the_fake_engine_counts_what_it_found() -> None:
    with standing_in("engine", "--prefix-cache-tokens", "1024") as engine:
        for _ in range(2):
            body = json.dumps({"model": "tiny", "prompt": told(4), "max_tokens": 1}).encode()
            urllib.request.urlopen(f"{engine.url}/v1/completions", body, timeout=10).close()
        with urllib.request.urlopen(f"{engine.url}/metrics", timeout=10) as response:
            page = response.read().decode()
    counts = {each.name: each.value for family in text_string_to_metric_families(page) for each in family.samples}
    assert counts["vllm:prefix_cache_hits_total"] == 4 * BLOCK_TOKENS
    assert counts["vllm:prefix_cache_queries_total"] == 2 * 65


def verb(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "affinity", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_router_with_affinity_sends_conversations_to_the_engine_that_holds_them(tmp_path: Path) -> None:
    sizes = [
        "--conversations",
        "8",
        "--turns",
        "4",
        "--users",
        "2",
        "--shared-words",
        "5",
        "--seed",
        "1",
        "--json",
        f"{tmp_path}/found.json",
    ]
    done = verb("--strategy", "round_robin", "--strategy", "least_busy=1,affinity=1", *sizes)
    assert done.returncode == 0, done.stdout + done.stderr
    turns, affine = json.loads((tmp_path / "found.json").read_text())
    assert (turns["strategy"], affine["strategy"]) == ("round_robin 1", "least_busy 1 + affinity 1")
    assert sum(turns["requests"]) == sum(affine["requests"]) == 32
    assert turns["queried_tokens"] == pytest.approx(affine["queried_tokens"], rel=0.05)
    assert len(affine["requests"]) == 2, "all of it went to one engine"
    assert turns["hit_share"] < 0.9 * turns["most_share"]
    assert affine["hit_share"] > 0.95 * affine["most_share"]
    assert f"{affine['hit_share']:.1%}" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(["--engine", "http://127.0.0.1:1"], "give two or more", id="one engine"),
        pytest.param(["--strategy", "affinity=much"], '"much" is no number', id="a weight that is no number"),
        pytest.param(["--turns", "0"], "at least 1", id="no turns"),
    ],
)
def test_bad_options_are_one_sentence(options: list[str], words: str) -> None:
    done = verb(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
