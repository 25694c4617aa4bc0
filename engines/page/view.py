"""Everything that `spillway plan` shows, as one frozen value; and the same as JSON, for programs.

`viewing` makes it, `page` draws it. Bytes are bytes, never rounded.

`to_json` writes the fields of PlanView and of the values below under their own names, so these are the keys:

    schema      1; only a change that is not an addition raises it
    profile     "gpu" or "cpu"; endpoint, driver: text; why_no_gpu: null exactly when there are GPUs; faults: sentences
    host        memory of the machine where engines compute on the CPU: total_bytes, cores, parts, over_bytes; or null
    gpus        one object a GPU (Card); its `parts` less its `over_bytes` are its `total_bytes`
    engines     one object an engine (EngineLine); its `terms` are what it takes of each of its GPUs, or in each worker
    unplaced    one object an engine without a place (Unfit): name, model, needs (a sentence), ways (words)
    elsewhere   one object a server that others run (Elsewhere): name, url, models (none: all that it lists)
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

import msgspec

SCHEMA = 1


class PartKind(StrEnum):
    """What a piece of a GPU's memory is for, in the order in which it is drawn. `driver` is what NVML calls reserved,
    `kept` what the plan leaves free on purpose, `free` what nobody has a use for."""

    WEIGHTS = "weights"
    KV = "kv"
    OVERHEAD = "overhead"
    FOREIGN = "foreign"
    DRIVER = "driver"
    KEPT = "kept"
    FREE = "free"


class Source(StrEnum):
    """Where the bytes of a term come from. `planned`: the plan itself gives them (the KV cache)."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    PLANNED = "planned"


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a GPU's memory; `engine` is None for what is no engine's."""

    kind: PartKind
    bytes: int
    engine: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU (or MIG instance), numbered in PCI order from 0. `island` counts groups that NVLink joins, from 0; None
    where it joins nothing. `over_bytes`: how much more is on it than it has. `notes` are short sentences on its health.
    `turns` are pieces of the engines that start asleep and are here in place of others, so they are no `parts`.
    """

    number: int
    uuid: str
    name: str
    total_bytes: int
    capability: str | None
    parent_uuid: str | None
    island: int | None
    is_declared: bool
    parts: tuple[Part, ...]
    over_bytes: int
    notes: tuple[str, ...]
    turns: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """The machine's own memory, for engines that compute on the CPU. `parts`, `over_bytes` and `turns` as of a Card."""

    total_bytes: int
    cores: tuple[int, ...]
    parts: tuple[Part, ...]
    over_bytes: int
    turns: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """One term of an engine's sum. `part` is the piece of the bar in which it is; `is_inside`: within
    --gpu-memory-utilization."""

    name: str
    bytes: int
    source: Source
    part: PartKind
    is_inside: bool


@dataclass(frozen=True, slots=True)
class EngineLine:
    """One engine. `gpus` are numbers of cards. `environment` holds only the variables that say where it runs and how
    much it may take. `utilization` is a fraction of `utilization_of_bytes`, both None where no such flag exists.
    `promised_requests` is None where nothing was promised; a promise in tokens is divided by the context. It takes
    turns with the engines in `turns_with`; `is_alternate`: one of them is first; `may_sleep`: it stays while it rests.
    `headroom_bytes` more than its sum must be free on its GPU when it starts.
    """

    name: str
    model: str
    kind: str
    runtime: str
    port: int
    gpus: tuple[int, ...]
    cores: tuple[int, ...]
    tensor_parallel: int
    context_tokens: int
    environment: dict[str, str]
    command: tuple[str, ...]
    terms: tuple[Term, ...]
    utilization: float | None
    utilization_of_bytes: int | None
    kv_tokens: int
    kv_bytes_per_token: int
    requests_at_once: float
    promised_requests: float | None
    max_num_seqs: int
    max_num_batched_tokens: int
    max_num_queued_reqs: int | None
    keep: bool = True
    turns_with: tuple[str, ...] = ()
    is_alternate: bool = False
    may_sleep: bool = False
    headroom_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """All that it takes on each of its GPUs (on a CPU: in each worker)."""
        return sum(term.bytes for term in self.terms)


@dataclass(frozen=True, slots=True)
class Unfit:
    """One engine without a place: what it needs against what is there, and the changes with which it would fit."""

    name: str
    model: str
    needs: str
    ways: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A server that somebody else runs; nothing of it is planned. `models`: under the names used here."""

    name: str
    url: str
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanView:
    """The whole page. `why_no_gpu` is None exactly when there are GPUs; `host` is None as long as nothing computes on
    the CPU, or where the size of its memory is not known."""

    schema: int
    profile: str
    endpoint: str
    driver: str | None
    why_no_gpu: str | None
    host: Host | None
    faults: tuple[str, ...]
    gpus: tuple[Card, ...]
    engines: tuple[EngineLine, ...]
    unplaced: tuple[Unfit, ...]
    elsewhere: tuple[Elsewhere, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def from_json(text: str) -> PlanView:
    """Read what `PlanView.to_json` wrote. Raises ValueError for anything else."""
    return msgspec.convert(json.loads(text), PlanView)
