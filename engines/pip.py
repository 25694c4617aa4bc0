"""The door to pip: runs it in a virtualenv, tells how far it is, and maps its failures to ours.

Pure: `advance` (one printed line -> Progress) and `explain` (all printed lines -> why it failed).
Knows nothing of vLLM.
"""

import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engines.errors import SpillwayError

HEARTBEAT_S = 1.0
GRACE_S = 5.0
# Settings that would send the packages elsewhere than into the virtualenv named.
MISLEADING = (
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_USER",
    "PIP_REQUIRE_VIRTUALENV",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an installation is. `phase`: waiting, venv, collecting, downloading, building, unpacking or ready."""

    phase: str
    package: str = ""
    done: int = 0
    total: int = 0
    elapsed_s: float = 0.0


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Cause:
    """Why pip failed, and what to do about it; each a plain clause."""

    why: str
    mend: str


class PipError(SpillwayError):
    """A child process of an installation failed; carries everything that it printed."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines[-20:]))
        self.lines = tuple(lines)
        self.cause = explain(lines)


NO_BUILD = Cause("a package has no build for this Python or machine", "use Python 3.11 to 3.13 on x86_64 or aarch64")
DISK_FULL = Cause("the disk filled up", "free some space")
NOT_WRITABLE = Cause("the folder cannot be written", "make it writable")
# First match wins: pip follows a network failure by "no matching distribution", so the deeper cause stands first.
CAUSES = (
    (r"No space left on device|Errno 28|Disk quota exceeded", DISK_FULL),
    (
        r"DO NOT MATCH THE HASHES",
        Cause("a downloaded file differs from the lock file", "do not trust that index or proxy; use another one"),
    ),
    (
        r"NewConnectionError|NameResolutionError|ProxyError|ConnectTimeout|ConnectionError|ReadTimeout|SSLError"
        r"|Temporary failure in name resolution|Network is unreachable|connection broken by",
        Cause("the package index cannot be reached", "check the network, the proxy and the pip configuration"),
    ),
    (r"No matching distribution found|is not a supported wheel|requires a different Python", NO_BUILD),
    (
        r"No module named .?(ensurepip|venv)|ensurepip is not available",
        Cause("this Python has no venv module", "install it, for example: apt install python3-venv"),
    ),
    (r"Permission denied|Read-only file system|Not a directory", NOT_WRITABLE),
)


def explain(lines: Sequence[str]) -> Cause:
    text = "\n".join(lines)
    for pattern, cause in CAUSES:
        if re.search(pattern, text):
            return cause
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    return Cause(f"pip stopped with: {last}", "see the message")


STEPS = (
    (re.compile(r"^(?:Collecting|Requirement already satisfied:|Ignoring) ([^\s:=<>~!;]+)"), "collecting"),
    (re.compile(r"^Processing \S*/([^/\s-]+)-[^/\s]+"), "collecting"),
    (re.compile(r"^\s+Downloading (?:\S*/)?([^/\s-]+)-\S+ \("), "downloading"),
    (re.compile(r"^Building wheels? for (?:collected packages: )?([^\s,]+)"), "building"),
)


def advance(progress: Progress, line: str) -> Progress:
    """What a line of pip's output adds to what is known; most lines add nothing."""
    if line.startswith("Installing collected packages: "):
        return replace(progress, phase="unpacking", package="", done=0, total=line.count(",") + 1)
    for pattern, phase in STEPS:
        if found := pattern.match(line):
            return replace(progress, phase=phase, package=found[1], done=progress.done + (phase == "collecting"))
    return progress


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if name not in MISLEADING}
    fixed = {"PYTHONUNBUFFERED": "1", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "LC_ALL": "C.UTF-8"}
    return {"PIP_RETRIES": "2"} | kept | fixed


def install(root: Path, arguments: Sequence[str], start: Progress, began_s: float, report: Report) -> None:
    """Runs `pip install` in the virtualenv `root`. Raises PipError; on any exception no child process is left."""
    counted = len(unpacked(root))

    def beat(progress: Progress) -> Progress:
        # pip prints nothing while it unpacks for a minute: what has appeared on disk tells how far it is.
        if progress.phase != "unpacking":
            return progress
        present = unpacked(root)
        return replace(
            progress, done=min(len(present) - counted, progress.total), package=present[-1] if present else ""
        )

    command = [str(root / "bin" / "python"), "-m", "pip", "install", "--progress-bar=off", *arguments]
    run(command, start, began_s, report, beat)


def unpacked(root: Path) -> list[str]:
    """The distributions in a virtualenv, the newest last."""
    folders = [(path.stat().st_mtime, path.name) for path in root.glob("lib/python*/site-packages/*.dist-info")]
    return [name.split("-")[0] for _, name in sorted(folders)]


def run(
    command: Sequence[str],
    start: Progress,
    began_s: float,
    report: Report,
    beat: Callable[[Progress], Progress] = lambda progress: progress,
) -> None:
    """Runs a command to its end and reports after each line, and at least every HEARTBEAT_S seconds.

    `began_s`: when the whole installation began, on the monotonic clock.
    """
    progress, lines = start, list[str]()
    # Its own session: Ctrl-C reaches us alone, and we stop the whole group.
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env=child_environment(os.environ),
        start_new_session=True,
    ) as child:
        printed: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(child, printed), name="pip-output", daemon=True)
        reader.start()
        try:
            report(replace(progress, elapsed_s=time.monotonic() - began_s))
            for line in _lines(printed):
                if line is not None:
                    lines.append(line)
                progress = beat(progress) if line is None else advance(progress, line)
                report(replace(progress, elapsed_s=time.monotonic() - began_s))
            if child.wait() != 0:
                raise PipError(lines)
        finally:
            _stop(child)
            reader.join(GRACE_S)


def _read(child: subprocess.Popen[str], printed: queue.SimpleQueue[str | None]) -> None:
    for line in child.stdout or ():
        printed.put(line.rstrip("\n"))
    printed.put(None)


def _lines(printed: queue.SimpleQueue[str | None]) -> Iterator[str | None]:
    """The lines that a child prints, until it closes its output; None for each HEARTBEAT_S of silence."""
    while True:
        try:
            line = printed.get(timeout=HEARTBEAT_S)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        yield line


def _stop(child: subprocess.Popen[str]) -> None:
    if child.poll() is not None:
        return
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
