"""Why an engine ended, what the user can do, and whether another try makes sense.

Pure: log lines and the way it ended in, a Failure out. The texts themselves stand in `symptoms`, what to change for
another try in `ladder`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from engines.kinds.kind import NotServableError
from engines.starting.symptoms.symptom import Kind, Symptom, Trouble
from engines.starting.symptoms.table import SYMPTOMS

# `(EngineCore pid=7) ERROR 11-20 12:17:13 [core.py:1] text`: vLLM's processes mark every line, and what goes through
# its logger carries a level as well.
LINE = re.compile(
    r"^(?:\((?P<who>[\w.-]+ pid=\d+)\) ?)?"
    r"(?:(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) [\d: .-]+\[\S+\] ?)?(?P<text>.*)$"
)
QUIET_LEVELS = ("DEBUG", "INFO", "WARNING")
ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception)(?:: (?P<message>.*))?$|^ *Value error, (?P<value>.*)$")
# What a parent says of a child that failed. The child said it before, and better.
SECOND_HAND = (
    "initialization failed due to an exception in a background process",
    "Worker failed with error",
    "Engine core initialization failed",
    "Frontend process failed during engine core",
    "EngineDeadError",
    "1 validation error for",
)
MOST_WORDS = 400
# What `processes.process.how_ended` says where the kernel told that it was so.
KERNEL_KILL = "killed by the kernel for lack of memory"


class Stage(StrEnum):
    """How far a start came; out of memory means something else in each."""

    LOADING = "loading"
    PROFILING = "profiling"
    SERVING = "serving"


@dataclass(frozen=True, slots=True)
class Failure:
    """`cause` and `mend` are for the user. `longest_context_tokens`: what vLLM says would fit. The GiB are those of the
    fullest device, as vLLM saw it. None is what the log does not say."""

    trouble: Trouble
    kind: Kind
    cause: str
    mend: str
    ended: str
    longest_context_tokens: int | None = None
    free_gib: float | None = None
    desired_gib: float | None = None
    total_gib: float | None = None

    def words(self) -> str:
        """Cause, end and mend as sentences."""
        return f"{self.cause} ({self.ended}). {self.mend}".rstrip()

    def after_serving(self) -> Failure:
        """The same of an engine that was ready: it can start as it is, whatever the text says of a start."""
        return replace(self, kind=Kind.RETRY_SAME) if self.kind is Kind.PERMANENT else self


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log: the process that wrote it, and what it says."""

    who: str
    text: str


def classify(lines: Iterable[str], ended: str) -> Failure:
    """What ended an engine, from all that it said in this run and how it ended (`exit code 1`, `signal SIGKILL`).

    The first symptom counts, because a failing worker is reported again by its engine core and by the server. Texts
    that may be a mere consequence (a collective that breaks because another worker died) count last.
    """
    if KERNEL_KILL in ended:
        return Failure(
            Trouble.HOST_OOM,
            Kind.RETRY_SAME,
            "the machine ran out of memory, and the kernel killed it for that",
            "End other programs, give the machine or the container more memory, or plan with less: on a CPU lower "
            "cpu_kv_cache_gib or context_tokens in stack.toml.",
            ended,
        )
    said = list(lines)
    errors = _errors(said)
    for is_weak in (False, True):
        if found := _first(errors, is_weak):
            return _failure(*found, said, ended)
    if "SIGKILL" in ended:
        return Failure(
            Trouble.KILLED,
            Kind.RETRY_SAME,
            "it was killed from outside",
            "If nobody did that on purpose, look at the kernel log (`dmesg`): it may have been for lack of memory.",
            ended,
        )
    return _unknown(errors, ended)


def hang(doing: str, quiet_s: float) -> Failure:
    """An engine that we ended because it no longer got on with its start."""
    return Failure(
        Trouble.HANG,
        Kind.RETRY_SAME,
        f"it hangs while {doing or 'starting'}: nothing in its log and no work for {quiet_s:.0f} s, so it was stopped",
        "Look at the end of its log. With several GPUs try NCCL_P2P_DISABLE=1; see also the kernel log (`dmesg`).",
        "stopped by Spillway",
    )


def not_started(why: str) -> Failure:
    """An engine that was not launched, because its GPUs cannot take it now."""
    return Failure(Trouble.SHARE_NOT_FREE, Kind.RETRY_SAME, why, "It is tried again and again.", "not started")


def cannot_start(error: OSError) -> Failure:
    """An engine for which the machine gives no process: too many of them, a full disk. Both pass."""
    why = f"it cannot be started: {error}"
    return Failure(Trouble.LAUNCH, Kind.RETRY_SAME, why, "It is tried again and again.", "not started")


def hung(why: str) -> Failure:
    """An engine that served and that we ended, because it did so no more."""
    return Failure(
        Trouble.HANG,
        Kind.RETRY_SAME,
        f"it hung and was stopped: {why}",
        "Nothing: it is started again. If this repeats, look at the end of its log and the kernel log (`dmesg`).",
        "stopped by Spillway",
    )


def dead() -> Failure:
    """An engine whose server goes on without it. What its log tells comes first; this is for where that is nothing."""
    return Failure(
        Trouble.CORE,
        Kind.RETRY_SAME,
        "its engine core died, and its server was stopped",
        "Nothing: it is started again. If this repeats, look at the end of its log and the kernel log (`dmesg`).",
        "stopped by Spillway",
    )


def stranger(why: str) -> Failure:
    """An engine whose port another program has taken."""
    return Failure(
        Trouble.PORT, Kind.RETRY_SAME, why, "Nothing: it is started again on another port.", "stopped by Spillway"
    )


def not_servable(error: NotServableError) -> Failure:
    """An engine that runs, but cannot serve what was planned."""
    kind = Kind.PERMANENT if error.is_permanent else Kind.RETRY_SAME
    return Failure(Trouble.MODEL, kind, str(error).rstrip("."), "", "stopped by Spillway")


def not_fetched(why: str) -> Failure:
    """An engine whose files are not there. Disks get room again and hubs come back, so it is tried for ever."""
    return Failure(Trouble.FETCH, Kind.RETRY_SAME, why.rstrip("."), "It is tried again and again.", "not started")


def stage(lines: Iterable[str]) -> Stage:
    """How far the start came that said these lines (vLLM 0.33, gpu_worker.py and gpu_model_runner.py)."""
    found = Stage.LOADING
    for line in lines:
        if "Model loading took" in line:
            found = Stage.PROFILING
        if "Available KV cache memory" in line or "KV cache size" in line:
            return Stage.SERVING
    return found


def _errors(said: Sequence[str]) -> list[Line]:
    """The lines that may tell of an error. Warnings are left out: they name errors that did no harm."""
    found = []
    for line in said:
        if (parts := LINE.match(line)) and parts["level"] not in QUIET_LEVELS:
            found.append(Line(parts["who"] or "", parts["text"]))
    return found


def _first(errors: Sequence[Line], is_weak: bool) -> tuple[Symptom, Mapping[str, str | None]] | None:
    table = [symptom for symptom in SYMPTOMS if symptom.is_weak is is_weak]
    for line in errors:
        for symptom in table:
            if found := symptom.pattern.search(line.text):
                return symptom, found.groupdict()
    return None


def _failure(symptom: Symptom, told: Mapping[str, str | None], said: Sequence[str], ended: str) -> Failure:
    symptom = _out_of_memory(said) if symptom.trouble is Trouble.GPU_MEMORY else symptom
    failure = Failure(
        trouble=symptom.trouble,
        kind=symptom.kind,
        cause=symptom.cause.format_map(told),
        mend=symptom.mend.format_map(told),
        ended=ended,
        longest_context_tokens=int(length) if (length := told.get("longest")) else None,
        free_gib=_number(told, "free"),
        desired_gib=_number(told, "desired"),
        total_gib=_number(told, "total"),
    )
    # More than the machine has will not be there next time either.
    if failure.trouble is Trouble.HOST_MEMORY and (failure.desired_gib or 0) > (failure.total_gib or float("inf")):
        return replace(failure, kind=Kind.PERMANENT)
    return failure


def _number(told: Mapping[str, str | None], name: str) -> float | None:
    return float(text) if (text := told.get(name)) else None


def _out_of_memory(said: Sequence[str]) -> Symptom:
    """`CUDA out of memory` means: too big a model, too big a batch, or too much given to the KV cache."""
    wanted = {
        Stage.LOADING: Trouble.OUT_OF_MEMORY_LOADING,
        Stage.PROFILING: Trouble.OUT_OF_MEMORY_PROFILING,
        Stage.SERVING: Trouble.OUT_OF_MEMORY_SERVING,
    }[stage(said)]
    if any("when warming up sampler with" in line for line in said):
        wanted = Trouble.OUT_OF_MEMORY_SAMPLING
    return next(symptom for symptom in SYMPTOMS if symptom.trouble is wanted)


def _unknown(errors: Sequence[Line], ended: str) -> Failure:
    """No text that we know: the words of the process that failed first, the last of them if it says several."""
    named = [line for line in errors if ERROR.match(line.text) and not any(text in line.text for text in SECOND_HAND)]
    own = [line.text for line in named if line.who == named[0].who]
    words = own[-1].removeprefix("  Value error, ").partition(" [type=")[0].strip() if own else ""
    cause = f"it ended with {ended}" + (f": {words[:MOST_WORDS]}" if words else ".")
    return Unknown(Trouble.UNKNOWN, Kind.RETRY_SAME, cause, "", ended)


class Unknown(Failure):
    """The end is all that is known, and the cause says it already."""

    __slots__ = ()

    def words(self) -> str:
        return self.cause
