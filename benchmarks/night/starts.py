"""Faults of what an engine needs to start, and of how it starts and ends: its port, log and files, deaf to TERM."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from signal import SIGKILL

from benchmarks.night.case import Aims, Case
from benchmarks.night.conduct import Conduct
from benchmarks.night.deaths import DEATH, kill_server
from benchmarks.night.night import Night
from benchmarks.night.scenery import MODEL, Engines, Scenery
from benchmarks.night.signs import as_before, by_name, changing, disturbed, restarted
from benchmarks.night.stranger import Stranger
from engines.snapshot import EngineState, Snapshot

FAKE = Scenery(Engines.FAKE)
WEIGHTS = "model.safetensors"
# Far from the header, in the middle of the numbers.
FLIPPED_BYTE = 1_000_000
FAILED_STARTS = 3
PATIENCE_S = 60.0
DEAF = Conduct(ignores_term=True)


async def steal_port(night: Night) -> None:
    """Whoever takes the port answers 200 to everything, `/health` included."""
    server, port = night.server(), int(night.view().url.rsplit(":", 1)[1])
    night.tell(server, SIGKILL)
    stranger = await asyncio.to_thread(Stranger, port)
    night.afterwards.callback(stranger.close)


async def corrupt_model(night: Night) -> None:
    """One bit of the weights, between two starts; put right again when the supervisor has said what is wrong."""
    weights = night.stage.model_folder / WEIGHTS
    _flip(weights)
    await kill_server(night)
    await night.until(lambda now: _has_said(now, WEIGHTS), PATIENCE_S, "the supervisor names the damaged file")
    _flip(weights)
    await _wake(night)


def _flip(path: object) -> None:
    with open(str(path), "r+b") as file:
        file.seek(FLIPPED_BYTE)
        byte = file.read(1)[0]
        file.seek(FLIPPED_BYTE)
        file.write(bytes([byte ^ 1]))


async def never_ready(night: Night) -> None:
    """The next start says and does nothing; the one after it is well."""
    night.stage.conduct(Conduct(is_mute=True))
    await kill_server(night)
    await night.until(lambda now: by_name(now)[MODEL].failed_starts >= 1, PATIENCE_S, "the start is given up")
    night.stage.conduct(Conduct())


async def die_on_every_start(night: Night) -> None:
    """Until it has given up, or has failed a few times; then whatever was wrong is mended."""
    night.stage.conduct(Conduct(ends_with=1))
    await kill_server(night)
    await night.until(_has_given_up, PATIENCE_S, "the supervisor counts its failed starts")
    night.stage.conduct(Conduct())
    await _wake(night)


async def ignore_term(night: Night) -> None:
    """Another engine takes its place, and the one from before does not end when it is told to."""
    night.stage.conduct(Conduct())
    night.mark()
    table = night.stage.tables[0]
    night.stage.want(replace(table, max_num_seqs=table.max_num_seqs // 2, drain_s=5.0))


async def _wake(night: Night) -> None:
    """An engine that has given up waits for a human, who mends what was wrong and runs `spillway up`."""
    if night.view().state is EngineState.QUARANTINED:
        await asyncio.to_thread(night.stage.up)


def _has_given_up(now: Snapshot) -> bool:
    view = by_name(now)[MODEL]
    return view.state is EngineState.QUARANTINED or view.failed_starts >= FAILED_STARTS


def _has_said(now: Snapshot, words: str) -> bool:
    return words in (by_name(now)[MODEL].last_error or "")


CASES = (
    Case(
        "port-stolen", "killed, and a program that answers nonsense takes its port", steal_port, DEATH, FAKE,
        disturbed, as_before, spoils=True,
    ),
    Case(
        "log-disk-full", "no log can be written from before its start, and it is killed", kill_server, DEATH,
        Scenery(Engines.FAKE, full_logs=True), disturbed, as_before,
    ),
    Case(
        "model-corrupted", "a bit of its weights flips between two starts", corrupt_model,
        Aims(found_s=2.0, away_s=1.0, back_s=90.0), Scenery(Engines.FAKE, own_files=True), disturbed, as_before,
    ),
    Case(
        "never-ready", "killed, and the next start says and does nothing", never_ready,
        Aims(found_s=2.0, away_s=1.0, back_s=60.0), FAKE, disturbed, as_before,
    ),
    Case(
        "dies-on-every-start", "killed, and its next starts die too", die_on_every_start,
        Aims(found_s=2.0, away_s=1.0, back_s=90.0), FAKE, disturbed, as_before, spoils=True,
    ),
    Case(
        "ignores-term", "replaced, and deaf to TERM", ignore_term,
        Aims(found_s=10.0, back_s=60.0, keeps_streams=True), FAKE, changing, restarted, conduct=DEAF, spoils=True,
    ),
)  # fmt: skip
