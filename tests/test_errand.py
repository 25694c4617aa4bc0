"""An errand runs at once and goes on in the very call that settles what it waits for; cancelled, it lets go first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from router.errand import Errand, Wait, in_task


class Diary:
    """What happened, in order, and an errand that writes into it."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    def write(self, page: str) -> None:
        self.pages.append(page)

    async def wait_for(self, wait: Wait[str]) -> None:
        self.write("begun")
        try:
            self.write(await wait)
        except ValueError as error:
            self.write(f"failed: {error}")
        except asyncio.CancelledError:
            self.write("cancelled")
            raise
        finally:
            self.write("let go")


def test_it_runs_at_once_and_goes_on_in_the_call_that_settles_its_wait() -> None:
    diary, wait = Diary(), Wait[str]()
    errand = Errand(diary.wait_for(wait))
    assert diary.pages == []
    errand.run()
    assert (diary.pages, errand.is_over) == (["begun"], False)
    wait.done("a token")
    assert (diary.pages, errand.is_over) == (["begun", "a token", "let go"], True)


def test_what_is_settled_already_is_not_waited_for() -> None:
    diary, wait = Diary(), Wait[str]()
    wait.done("a token")
    Errand(diary.wait_for(wait)).run()
    assert diary.pages == ["begun", "a token", "let go"]


def test_an_error_is_raised_where_it_waits() -> None:
    diary, wait = Diary(), Wait[str]()
    Errand(diary.wait_for(wait)).run()
    wait.fail(ValueError("the engine is gone"))
    assert diary.pages == ["begun", "failed: the engine is gone", "let go"]


@pytest.mark.parametrize(
    "again", [lambda wait: wait.done("another"), lambda wait: wait.fail(ValueError("late"))], ids=["done", "failed"]
)
def test_who_settles_it_again_is_not_heard(again: Callable[[Wait[str]], None]) -> None:
    diary, wait = Diary(), Wait[str]()
    Errand(diary.wait_for(wait)).run()
    wait.done("a token")
    again(wait)
    assert diary.pages == ["begun", "a token", "let go"]


def test_cancelled_it_lets_go_before_the_call_returns_and_what_it_waited_for_wakes_nobody() -> None:
    diary, wait = Diary(), Wait[str]()
    errand = Errand(diary.wait_for(wait))
    errand.run()
    errand.cancel()
    assert (diary.pages, errand.is_over) == (["begun", "cancelled", "let go"], True)
    wait.done("too late")
    errand.cancel()
    assert diary.pages == ["begun", "cancelled", "let go"]


def test_what_it_does_about_a_cancel_may_take_a_wait_of_its_own() -> None:
    diary, first, last = Diary(), Wait[str](), Wait[str]()

    async def tidy() -> None:
        try:
            await first
        finally:
            diary.write(await last)

    errand = Errand(tidy())
    errand.run()
    errand.cancel()
    assert (diary.pages, errand.is_over) == ([], False)
    first.done("too late")
    last.done("tidied")
    assert (diary.pages, errand.is_over) == (["tidied"], True)


def test_it_cannot_cancel_itself() -> None:
    diary = Diary()

    async def reckless() -> None:
        errand.cancel()
        diary.write("went on")

    errand = Errand(reckless())
    errand.run()
    assert (diary.pages, errand.is_over) == (["went on"], True)


async def ended(errand: Errand) -> None:
    """Give the loop turns until the errand is over."""
    async with asyncio.timeout(10):
        while not errand.is_over:
            await asyncio.sleep(0)


async def test_what_needs_a_task_gives_its_result_or_its_error() -> None:
    diary = Diary()

    async def fetch(word: str) -> str:
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        if word == "nothing":
            raise ValueError("nothing there")
        return word

    async def work() -> None:
        diary.write(await in_task(fetch("a connection")))
        try:
            await in_task(fetch("nothing"))
        except ValueError as error:
            diary.write(str(error))

    errand = Errand(work())
    errand.run()
    await ended(errand)
    assert diary.pages == ["a connection", "nothing there"]


async def test_a_cancelled_errand_waits_until_its_task_has_let_go() -> None:
    diary = Diary()

    async def hold() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            diary.write("the task let go")

    async def work() -> None:
        try:
            await in_task(hold())
        finally:
            diary.write("the errand let go")

    errand = Errand(work())
    errand.run()
    await asyncio.sleep(0)
    errand.cancel()
    await ended(errand)
    assert diary.pages == ["the task let go", "the errand let go"]


async def test_a_result_that_came_just_when_it_was_cancelled_is_given_back() -> None:
    diary = Diary()
    opened = asyncio.get_running_loop().create_future()

    async def dial() -> str:
        return str(await opened)

    def work(abandon: Callable[[str], object]) -> Coroutine[Any, Any, None]:
        async def working() -> None:
            await in_task(dial(), abandon)

        return working()

    errand = Errand(work(diary.write))
    errand.run()
    await asyncio.sleep(0)
    opened.set_result("a connection")
    # The task runs to its end in this turn; the errand hears of it in the next one.
    await asyncio.sleep(0)
    errand.cancel()
    await ended(errand)
    assert diary.pages == ["a connection"]
