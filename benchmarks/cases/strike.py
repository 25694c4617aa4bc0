"""Carries a schedule of faults out. It must not know phases or figures.

The cloud's faults go to the switch of the stand-in, the engine's to its process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import chain

import aiohttp

from benchmarks.cases.fault import Break, Fault
from benchmarks.cases.stack import Stack
from benchmarks.cases.start import Start

Note = Callable[[float, str], None]
# A switch answers within a millisecond; what takes this long is not there.
SWITCH_S = 5.0


def must_be_possible(faults: Sequence[Fault], stack: Stack) -> None:
    """Raises ValueError for a fault that this stack gives no hold for."""
    for fault in faults:
        if fault.is_of_engine and stack.engine is None:
            raise ValueError(
                f"--fault {fault.at_s:g}:{fault}: the engine at --url is not ours to break; without --url a stack of "
                "our own is started, whose engine can be killed"
            )
        if not fault.is_of_engine and stack.cloud_url is None:
            raise ValueError(f"--fault {fault.at_s:g}:{fault}: name the stand-in cloud with --cloud-url")


async def carry_out(faults: Sequence[Fault], stack: Stack, start: Start, note: Note) -> list[str]:
    """Each at its time, each noted as an event when it has happened. What could not be done is returned in words.

    Those of the engine and those of the cloud do not wait for each other: a process takes seconds to start.
    """
    sides = ([fault for fault in faults if fault.is_of_engine is side] for side in (True, False))
    failures = await asyncio.gather(*(_one_after_the_other(side, stack, start, note) for side in sides))
    return [*chain.from_iterable(failures)]


async def _one_after_the_other(faults: Sequence[Fault], stack: Stack, start: Start, note: Note) -> list[str]:
    failures = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SWITCH_S)) as client:
        for fault in faults:
            await start.until(fault.at_s)
            try:
                await _carry_out(fault, stack, client)
            except (OSError, ValueError, aiohttp.ClientError) as error:
                failures.append(f"{fault} could not be carried out: {error!r}")
                note(start.now_s, failures[-1])
            else:
                note(start.now_s, str(fault))
    return failures


async def mend_all(faults: Sequence[Fault], stack: Stack) -> list[str]:
    """Put right what these faults may have left broken; what could not be is returned in words."""
    sides = {fault.is_of_engine for fault in faults}
    mending = [Fault(0.0, Break.ENGINE_OK if side else Break.CLOUD_OK) for side in sides]
    start = Start()
    start.begin()
    return await carry_out(mending, stack, start, lambda _at_s, _text: None)


async def _carry_out(fault: Fault, stack: Stack, client: aiohttp.ClientSession) -> None:
    if not fault.is_of_engine:
        async with client.post(f"{stack.cloud_url}/_switch", json=dict(fault.switch)) as answer:
            answer.raise_for_status()
        return
    assert stack.engine is not None
    act = {
        Break.KILL_ENGINE: stack.engine.kill,
        Break.HANG_ENGINE: stack.engine.hang,
        Break.ENGINE_OK: stack.engine.mend,
    }[fault.what]
    # Starting and ending processes takes time in which the load must not stand still.
    await asyncio.to_thread(act)
