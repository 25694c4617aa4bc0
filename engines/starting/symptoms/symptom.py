"""One text by which an engine tells why it ends: what it means, how to mend it, and whether to try again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What the next try may be."""

    RETRY_SAME = "retry same"
    RETRY_CHANGED = "retry changed"
    PERMANENT = "permanent"


class Trouble(StrEnum):
    """What went wrong, as far as the next step depends on it."""

    PORT = "port"
    SHARE_NOT_FREE = "share not free"
    NO_KV_MEMORY = "no kv memory"
    KV_TOO_SMALL = "kv too small"
    MEMORY_MOVED = "memory moved"
    GPU_MEMORY = "gpu memory"
    OUT_OF_MEMORY_LOADING = "out of memory loading"
    OUT_OF_MEMORY_PROFILING = "out of memory profiling"
    OUT_OF_MEMORY_SAMPLING = "out of memory sampling"
    OUT_OF_MEMORY_SERVING = "out of memory serving"
    HOST_MEMORY = "host memory"
    DISK = "disk"
    CARD = "card"
    DRIVER = "driver"
    DIVISION = "division"
    CONTEXT = "context"
    MODEL = "model"
    FILES = "files"
    FLAGS = "flags"
    RUNTIME = "runtime"
    FABRIC = "fabric"
    GPU_FAULT = "gpu fault"
    KILLED = "killed"
    HOST_OOM = "host oom"
    HANG = "hang"
    CORE = "core"
    LAUNCH = "launch"
    FETCH = "fetch"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Symptom:
    """A text in the log. Named groups of `pattern` may appear in `cause` and `mend` as `{name}`.

    `is_weak`: the text may be the consequence of something else that the log tells too.
    """

    pattern: re.Pattern[str]
    trouble: Trouble
    kind: Kind
    cause: str
    mend: str
    is_weak: bool = False


def same(pattern: str, trouble: Trouble, cause: str, mend: str) -> Symptom:
    """What passes by itself, or with luck: the next try is the same."""
    return Symptom(re.compile(pattern), trouble, Kind.RETRY_SAME, cause, mend)


def changed(pattern: str, trouble: Trouble, cause: str, mend: str) -> Symptom:
    """What another try with less may cure."""
    return Symptom(re.compile(pattern), trouble, Kind.RETRY_CHANGED, cause, mend)


def permanent(pattern: str, trouble: Trouble, cause: str, mend: str) -> Symptom:
    """What no other try cures: the user must change something."""
    return Symptom(re.compile(pattern), trouble, Kind.PERMANENT, cause, mend)


def weak(pattern: str, trouble: Trouble, cause: str, mend: str) -> Symptom:
    """What may be a mere consequence of another symptom."""
    return Symptom(re.compile(pattern), trouble, Kind.RETRY_SAME, cause, mend, is_weak=True)
