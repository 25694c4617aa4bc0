"""What is no fault: edits, drains, long prompts, heavy load, a clock that jumps. Nothing may be lost, nothing restarted
that need not be."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.night.case import Aims, Case
from benchmarks.night.conduct import Conduct
from benchmarks.night.night import Night
from benchmarks.night.scenery import MODEL, SECOND, STAYS, Engines, Scenery
from benchmarks.night.signs import changing, has, never, ready, restarted
from benchmarks.night.visit import Question
from benchmarks.night.visitors import many

REAL = Scenery(Engines.REAL)
FAKE = Scenery(Engines.FAKE)
EDIT_S = 60.0
# Twelve thousand letters are three thousand tokens of the fake engine: twenty seconds without a step.
SLOW = Conduct(prefill_tokens_per_s=150.0)
LONG_PROMPT = "word " * 2400
LONG_S = 24.0
BURST = 80
BURST_TOKENS = 200
BURST_S = 14.0
HOUR_S = 3600.0
JUMP_S = 4.0
STREAMS = 6
STREAM_TOKENS = 250


async def edit(night: Night) -> None:
    """A model is added, then resized, then removed."""
    smoke = night.stage.tables[0]
    second = replace(smoke, name=SECOND, max_num_seqs=32)
    night.mark()
    night.stage.want(smoke, second)
    await night.until(lambda now: ready(MODEL, SECOND)(now, now), EDIT_S, "the added model serves")
    pid = night.view(SECOND).pid
    night.stage.want(smoke, replace(second, max_num_seqs=16))
    await night.until(
        lambda now: (
            ready(MODEL, SECOND)(now, now) and any(view.name == SECOND and view.pid != pid for view in now.engines)
        ),
        EDIT_S,
        "the resized model serves",
    )
    night.stage.want(smoke)


async def drain(night: Night) -> None:
    """The engine is resized while it streams: whatever it has begun it must end."""
    for question in many(STREAMS, STAYS, STREAM_TOKENS):
        night.visitors.send(replace(question, number=-1), "Tell me a long story.")
    await night.sleep(0.5)
    night.mark()
    table = night.stage.tables[0]
    night.stage.want(replace(table, max_num_seqs=96 - table.max_num_seqs))


async def prefill(night: Night) -> None:
    """One prompt that takes longer than any hang is given."""
    night.mark()
    night.visitors.send(Question(-1, STAYS, True, 8, MODEL), LONG_PROMPT)
    await night.sleep(LONG_S)


async def overload(night: Night) -> None:
    """Many more at once than the engine can hold."""
    night.mark()
    for question in many(BURST, STAYS, BURST_TOKENS):
        night.visitors.send(replace(question, number=-1), "Tell me a long story.")
    await night.sleep(BURST_S)


async def jump(night: Night) -> None:
    """An hour on, two hours back, and right again."""
    shift = night.stage.shift
    assert shift is not None
    night.mark()
    for seconds in (HOUR_S, -HOUR_S, 0.0):
        shift.jump(seconds)
        await night.sleep(JUMP_S)


QUIET = Aims(is_quiet=True, found_s=None)
CASES = (
    Case(
        "drain", "resized while it streams", drain, Aims(found_s=10.0, back_s=300.0, keeps_streams=True), REAL,
        changing, restarted, other={Engines.FAKE: FAKE},
    ),
    Case(
        "overload-not-hang", f"{BURST} long streams at once", overload, QUIET, REAL, never, never,
        other={Engines.FAKE: FAKE},
    ),
    Case(
        "edit-while-serving", "a second model is added, resized, removed", edit,
        Aims(found_s=10.0, back_s=90.0, keeps_streams=True, keeps=(MODEL,)), FAKE, has(SECOND), ready(MODEL),
        other={Engines.REAL: REAL},
    ),
    Case(
        "long-prefill", "a prompt of 3,000 tokens takes 20 s", prefill, QUIET, FAKE, never, never, conduct=SLOW,
        rate=4.0,
    ),
    Case(
        "clock-jump", "the clock of supervisor, keepers and router jumps an hour on and back", jump, QUIET,
        Scenery(Engines.FAKE, clock=True), never, never,
    ),
)  # fmt: skip
