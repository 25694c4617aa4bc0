"""The JSON of a run: what was measured, of what, on what, by which command. The schema is versioned; readers check it.

Pure values. `benchmarks.report.rows` keeps the requests themselves in a file beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from benchmarks.report.foreign import part, records

SCHEMA = "spillway-benchmark/1"


class Figure(msgspec.Struct, frozen=True):
    """A distribution. `low` and `high` are the ends of the 95 % confidence interval of each statistic, by its name.

    NaN, null in the JSON, stands for a statistic that an imported report does not state.
    """

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    low: Mapping[str, float] = {}
    high: Mapping[str, float] = {}


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one load; formulas and sources in `benchmarks.figures.summary`. None: not known here."""

    requests: int
    seconds: float
    warm_up_s: float
    ttft_s: Figure | None
    tpot_s: Figure | None
    itl_s: Figure | None
    e2e_s: Figure | None
    queue_s: Figure | None = None
    lag_s: Figure | None = None
    input_tokens_per_s: float
    output_tokens_per_s: float
    requests_per_s: float
    goodput_per_s: float | None
    errors: int
    errors_by_kind: Mapping[str, int] = {}
    mean_concurrency: float = 0.0
    targets: Mapping[str, int] = {}
    reasons: Mapping[str, int] = {}
    tiers: Mapping[str, int] = {}
    spill_share: float | None = None
    token_mismatches: int = 0
    promise: str = ""
    promise_broken: Sequence[str] = ()


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars and energy of one load. None where the price or the power is not known: unknown is never zero."""

    cloud_usd: float | None = None
    energy_usd: float | None = None
    hardware_usd: float | None = None
    usd_per_mtok: float | None = None
    local_usd_per_mtok: float | None = None
    cloud_usd_per_mtok: float | None = None
    all_cloud_usd: float | None = None
    joules: float | None = None
    joules_per_token: float | None = None


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen at one moment of the run. KV use is a share; power in watts, memory in bytes, summed over GPUs."""

    at_s: float
    in_flight: int = 0
    running: int | None = None
    waiting: int | None = None
    kv_used: float | None = None
    requests_per_s: float | None = None
    output_tokens_per_s: float | None = None
    gpu_power_w: float | None = None
    gpu_memory_bytes: int | None = None
    cloud_usd: float | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One load and all that is known of it. `name` tells it from others in the same document: `rate 4`, `hybrid`.

    `parts` are judged on their own: phases between faults, or the whole by what each tier promised (`cases.outcome`).
    """

    name: str
    load: Mapping[str, Any]
    summary: Summary
    costs: Costs = Costs()
    timeline: Sequence[Moment] = ()
    events: Sequence[tuple[float, str]] = ()
    invalid: Sequence[str] = ()
    notes: Sequence[str] = ()
    rows: str = ""
    parts: Sequence[Mapping[str, Any]] = ()


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where the figures come from."""

    command: str
    began_at: str
    machine: Mapping[str, Any]
    gpus: Sequence[Mapping[str, Any]] = ()
    engine: Mapping[str, Any] = {}
    lock_digest: str = ""
    commit: str = ""
    tool: str = "spillway"


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` writes. `verdict` is what it comes to, in sentences; `knee` the highest load that kept the promise.

    `interrupted`: Ctrl-C ended it early, and it holds what was measured until then. `summary` is that of the one run,
    or of the run that the verdict is about.
    """

    schema: str = SCHEMA
    verb: str
    title: str
    origin: Origin
    runs: Sequence[Run]
    summary: Summary | None = None
    knee: Mapping[str, Any] | None = None
    verdict: Sequence[str] = ()
    interrupted: bool = False


def written(document: Document) -> bytes:
    """As JSON, indented, ending with a line feed."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def read(raw: bytes, name: str) -> Document:
    """The inverse of `written`. Raises ValueError that names the file, what is wrong and where."""
    try:
        found = msgspec.json.decode(raw)
        schema = found.get("schema") if isinstance(found, dict) else None
        if schema not in (None, SCHEMA):
            raise ValueError(f"{name} has schema {schema!r}; this version reads {SCHEMA!r}: measure it again.")
        return msgspec.convert(_with_numbers(found), type=Document)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"{name} is not a report of this harness: {error}") from error


def _with_numbers(found: Any) -> Any:
    """JSON has no NaN: a statistic that nobody knows is null there, in summaries of the document and of its runs."""
    if isinstance(found, dict):
        for holder in (found, *records(found.get("runs"))):
            for figure in (value for value in part(holder, "summary").values() if isinstance(value, dict)):
                figure.update({name: math.nan for name, value in figure.items() if value is None})
    return found
