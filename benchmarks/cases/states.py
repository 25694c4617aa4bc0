"""What becomes of the targets while a load runs: ready, starting, resting, gone; each change is an event."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp

from benchmarks.cases.stack import Stack
from benchmarks.cases.start import Start
from benchmarks.cases.strike import Note
from benchmarks.demo_stack import fetched

LOOK_S = 0.25
GONE = "gone"


def states_in(status: Mapping[str, Any]) -> dict[str, str]:
    """By target: its state in a word or two, or that it rests after failures. Pure."""
    return {
        str(each["name"]): f"resting ({each['resting']})" if each.get("resting") else _brief(str(each["state"]))
        for each in status.get("targets", ())
    }


def _brief(state: str) -> str:
    """Without the reason that follows it, which stands in the logs and would not fit into a picture."""
    return state.partition(":")[0].removesuffix(" again after")


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """In words, what is different. Pure."""
    for name in sorted(before.keys() | after.keys()):
        now = after.get(name, GONE)
        if before.get(name, GONE) != now:
            yield f"{name}: {now}"


async def watch_states(stack: Stack, start: Start, note: Note) -> None:
    """Note each change until cancelled. A router that does not answer now changes nothing."""
    headers = {"authorization": f"Bearer {stack.key}"} if stack.key else {}
    async with aiohttp.ClientSession(headers=headers) as client:
        seen = states_in(await fetched(client, f"{stack.url}/spillway/status"))
        while True:
            await asyncio.sleep(LOOK_S)
            if now := states_in(await fetched(client, f"{stack.url}/spillway/status")):
                for change in changes(seen, now):
                    note(start.now_s, change)
                seen = now
