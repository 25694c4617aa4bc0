"""Tokens counted by a model's own tokenizer, in a process of its own that is never a condition of an answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from router.counter import Counter
from tests.vocabularies import byte_level, folder_of

TEXT = "The water goes over the spillway when the lake is full.\n" * 50


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(folder_of(byte_level(), tmp_path_factory.mktemp("counted") / "model") / "tokenizer.json")


async def test_a_text_has_as_many_tokens_as_its_own_tokenizer_makes_of_it(tokenizer: str) -> None:
    counter = Counter()
    known = len(Tokenizer.from_file(tokenizer).encode(TEXT, add_special_tokens=False).ids)
    assert [await counter.count(tokenizer, TEXT), await counter.count(tokenizer, TEXT * 2)] == [known, known * 2]
    await counter.close()


async def test_without_a_file_or_with_another_one_nobody_counts_and_others_go_on(
    tokenizer: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_text('{"no": "tokenizer"}')
    counter = Counter()
    assert await counter.count(str(tmp_path / "gone.json"), TEXT) is None
    assert await counter.count(str(tmp_path / "bad.json"), TEXT) is None
    assert await counter.count(tokenizer, TEXT) is not None
    await counter.close()


async def test_who_waited_too_long_for_others_says_nothing_against_a_tokenizer(
    tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter()
    assert await counter.count(tokenizer, TEXT) is not None
    with monkeypatch.context() as patch:
        patch.setattr("router.counter.COUNT_S", 30.0)
        first = asyncio.create_task(counter.count(tokenizer, TEXT * 20))
        await asyncio.sleep(0)
        patch.setattr("router.counter.COUNT_S", 0.001)
        assert await counter.count(tokenizer, TEXT) is None
        assert await first is not None
    assert await counter.count(tokenizer, TEXT) is not None
    await counter.close()


async def test_a_process_that_is_killed_is_started_again(tokenizer: str) -> None:
    counter = Counter()
    first = await counter.count(tokenizer, TEXT)
    assert first is not None
    await counter.close()
    assert await counter.count(tokenizer, TEXT) == first
    await counter.close()
