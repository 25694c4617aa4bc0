"""The contract between the engines and the router: what the supervisor says of all that it owns, and what routers tell
it of their requests.

One Snapshot is one line of JSON on the supervisor's Unix socket; a router answers each with one Report. Standard
library only, because the router imports this file and nothing else of `engines`. Ages instead of clock times: the two
processes never compare clocks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

SCHEMA = 2


class SnapshotError(ValueError):
    """A line that is not a Snapshot of this schema."""


class EngineState(StrEnum):
    """Where an engine is in its life; `engines.life.lifecycle` says which steps exist."""

    PLANNED = "planned"
    DOWNLOADING = "downloading"
    LAUNCHING = "launching"
    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    DRAINING = "draining"
    SLEEPING = "sleeping"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Load:
    """What one engine last reported of itself. Counters run from the engine's start."""

    running: int
    waiting: int
    kv_used_fraction: float
    kv_capacity_tokens: int
    prompt_tokens_total: int
    generation_tokens_total: int
    preemptions_total: int
    age_s: float


@dataclass(frozen=True, slots=True)
class EngineView:
    """One engine. `in_state_s` counts from the last change of state; `load` is None until it reports.

    `kind` is vllm, ollama or url (one that runs elsewhere); `served_name` is what it calls its model; `slots`: so many
    requests it serves at once, None where only memory limits them; `max_num_seqs` of them are decoded together, and a
    step computes `max_num_batched_tokens`, None where nobody says so. `context_tokens` is what it really runs with.
    `changes` says in what it differs from the plan and why, "" if it does not. `failed_starts` counts those in a row
    without any change. `weight` is below 1 while its GPU is slowed down. `key_env` names the variable with its key.
    `is_awaited`: it is in quarantine, and another place for it is sought or made ready. `memory_bytes` is what its
    processes hold on all its devices, None where nobody tells.
    """

    name: str
    model: str
    kind: str
    state: EngineState
    url: str
    device: str
    context_tokens: int
    pid: int | None
    in_state_s: float
    restarts: int
    last_error: str | None
    load: Load | None
    progress: str = ""
    changes: str = ""
    failed_starts: int = 0
    served_name: str = ""
    slots: int | None = None
    weight: float = 1.0
    key_env: str | None = None
    is_adopted: bool = False
    is_awaited: bool = False
    memory_bytes: int | None = None
    memory_age_s: float | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether no further start is tried until something changes."""
        return self.state is EngineState.QUARANTINED


class GpuState(StrEnum):
    """What may run on a GPU: anything; anything, but slowly; only what runs there already; nothing."""

    OK = "ok"
    SLOWED = "slowed"
    DRAINING = "draining"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class GpuView:
    """One GPU as NVML reports it, `age_s` ago. `why` says what is wrong where its state is not ok, and since when.

    `foreign_bytes` are held by processes that are not ours.
    """

    uuid: str
    name: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    foreign_bytes: int | None = None
    state: GpuState = GpuState.OK
    why: str = ""
    in_state_s: float = 0.0
    temperature_c: int | None = None
    power_w: float | None = None
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HostView:
    """Host memory as psutil reports it."""

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True)
class Twin:
    """The cloud deployment that may serve a model instead, with the price locked for it. `model` is the one that the
    deployment named when that was locked; "" where whoever wrote this did not know."""

    deployment: str
    context_tokens: int
    capabilities: tuple[str, ...]
    input_usd_per_mtok: float
    output_usd_per_mtok: float
    priced_from: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class ModelView:
    """Locked facts of one wanted model that routing needs. `tokenizer` is the file of its tokenizer, if it has one; it
    may not have been fetched yet."""

    name: str
    context_tokens: int
    capabilities: tuple[str, ...]
    twin: Twin | None
    tokenizer: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the supervisor knows at one moment. `sequence` grows by one a tick.

    `refused` is why the newest edit of stack.toml is not what runs, "" if it is. `busy` says what change is under way.
    """

    sequence: int
    supervisor_pid: int
    engines: tuple[EngineView, ...]
    models: tuple[ModelView, ...]
    gpus: tuple[GpuView, ...]
    host: HostView
    refused: str = ""
    busy: str = ""

    def to_json(self) -> bytes:
        """One line, newline included."""
        return json.dumps({"schema": SCHEMA} | asdict(self), separators=(",", ":")).encode() + b"\n"


def from_json(line: bytes) -> Snapshot:
    """Read what `Snapshot.to_json` wrote. Raises SnapshotError on anything else."""
    try:
        raw = json.loads(line)
        if raw["schema"] != SCHEMA:
            raise SnapshotError(f"schema {raw['schema']} is not {SCHEMA}: restart supervisor and router together")
        return Snapshot(
            sequence=raw["sequence"],
            supervisor_pid=raw["supervisor_pid"],
            engines=tuple(_engine(each) for each in raw["engines"]),
            models=tuple(_model(each) for each in raw["models"]),
            gpus=tuple(GpuView(**{**each, "state": GpuState(each["state"])}) for each in raw["gpus"]),
            host=HostView(**raw["host"]),
            refused=raw["refused"],
            busy=raw["busy"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotError(f"not a snapshot: {error!r}") from error


@dataclass(frozen=True, slots=True)
class EngineUse:
    """What routers have at one engine. The longest prompt and the oldest wait are of requests without a first token."""

    in_flight: int = 0
    unstarted: int = 0
    longest_prompt_tokens: int = 0
    oldest_wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """What one router process says after each Snapshot: which it has heard last, and what it has where.

    `uses` go by the URL of the engine, because a name may change hands. `wanted` counts, by model, the requests since
    the last Report that a sleeping engine of it could have served.
    """

    sequence: int
    uses: Mapping[str, EngineUse]
    wanted: Mapping[str, int]

    def to_json(self) -> bytes:
        """One line, newline included."""
        return json.dumps({"schema": SCHEMA} | asdict(self), separators=(",", ":")).encode() + b"\n"


def report_from_json(line: bytes) -> Report:
    """Read what `Report.to_json` wrote. Raises SnapshotError on anything else."""
    try:
        raw = json.loads(line)
        if raw["schema"] != SCHEMA:
            raise SnapshotError(f"schema {raw['schema']} is not {SCHEMA}")
        uses = {url: EngineUse(**use) for url, use in raw["uses"].items()}
        return Report(int(raw["sequence"]), uses, {model: int(count) for model, count in raw["wanted"].items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SnapshotError(f"not a report: {error!r}") from error


def models_to_json(models: tuple[ModelView, ...]) -> str:
    """For a router without a supervisor, which hears of locked facts on its command line."""
    return json.dumps([asdict(model) for model in models])


def models_from_json(text: str) -> tuple[ModelView, ...]:
    """Read what `models_to_json` wrote. Raises SnapshotError."""
    try:
        return tuple(_model(each) for each in json.loads(text))
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise SnapshotError(f"not a list of models: {error!r}") from error


def _engine(raw: Mapping[str, Any]) -> EngineView:
    load = raw["load"]
    return EngineView(**{**raw, "state": EngineState(raw["state"]), "load": None if load is None else Load(**load)})


def _model(raw: Mapping[str, Any]) -> ModelView:
    twin = raw["twin"]
    capabilities = tuple(raw["capabilities"])
    return ModelView(**{**raw, "capabilities": capabilities, "twin": None if twin is None else _twin(twin)})


def _twin(raw: Mapping[str, Any]) -> Twin:
    return Twin(**{**raw, "capabilities": tuple(raw["capabilities"])})


def state_home() -> Path:
    """The folder of logs, ledger and process records: `SPILLWAY_HOME`, else `.spillway` here."""
    return Path(os.environ.get("SPILLWAY_HOME", ".spillway")).absolute()


FEED_NAME = "supervisor.sock"
# The longest line that a reader accepts: some hundred engines.
LONGEST_LINE_BYTES = 4 * 1024 * 1024


@contextmanager
def feed_address(home: Path) -> Iterator[str]:
    """Where the supervisor publishes and the router listens, for as long as the context lasts.

    The path of a Unix socket may have 107 bytes; through the folder's descriptor a folder of any depth will do.
    """
    folder = os.open(home, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{FEED_NAME}"
    finally:
        os.close(folder)
