"""Models' files on their way, for the one line that a long verb shows: a bar, bytes, rate and the time that is left.

`python -m engines.fetching NAME --lock PATH` sees to the files of one model before its engine starts, in a process of
its own because reading a hundred gigabytes keeps a supervisor from its other engines: a line on stdout for what
happens, 0 when all is there and verified, 1 with the reason on stderr. What it has fetched is never fetched again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from engines.kinds.ollama import models_folder
from engines.kinds.ollama_damaged import remove_damaged
from engines.models.download import OLLAMA, DownloadError, ensure
from engines.models.lock import LockedModel, LockError, locked_model, read_lock
from engines.models.tally import Progress
from engines.terminal.progress import Show

BAR_CELLS = 20
GB, MB = 1e9, 1e6
# A line that differs from the last one, but no more than a reader can follow.
LINE_S = 0.5
VERBS = {
    "asking": "asking the hub",
    "fetching": "fetching",
    "waiting": "waiting for another download of",
    "verifying": "verifying",
}


def ensure_files(models: Mapping[str, LockedModel], show: Show) -> None:
    """Every file of these models is there and is the locked one when this returns. Raises DownloadError, LockError."""
    ensure(models, lambda progress: show.say(progress_words(progress), subject=VERBS[progress.phase]))


def progress_words(progress: Progress) -> str:
    """One line: `fetching ██████──── 61 % of 16.07 GB, 112 MB/s, 56 s left: model-00002-of-00004.safetensors`."""
    words = f"{VERBS[progress.phase]} {_share(progress)}" if progress.phase != "asking" else "asking the hub"
    if progress.bytes_per_s:
        words += f", {progress.bytes_per_s / MB:,.0f} MB/s"
    if progress.left_s is not None:
        words += f", {_time(progress.left_s)} left"
    return words + _names(progress.files)


def _names(files: tuple[str, ...]) -> str:
    """Short: a line that is longer than the terminal is wide would be two."""
    if not files:
        return ""
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f": {Path(files[0]).name}{more}"


def _share(progress: Progress) -> str:
    fraction = min(1.0, progress.done_bytes / progress.total_bytes) if progress.total_bytes else 0.0
    full = round(fraction * BAR_CELLS)
    size = progress.total_bytes
    total = f"{size / GB:,.2f} GB" if size >= GB else f"{size / MB:,.1f} MB"
    return f"{'█' * full}{'─' * (BAR_CELLS - full)} {100 * fraction:.0f} % of {total}"


def _time(left_s: float) -> str:
    minutes, seconds = divmod(round(left_s), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def fetch_model(name: str, lock: Path) -> None:
    """Every file of this model is there and verified when this returns; of Ollama's the damaged ones are gone.
    Raises LockError, DownloadError, and OSError for a file that cannot be read."""
    model = locked_model(read_lock(lock), name, lock)
    if model.source.startswith(OLLAMA):
        # What is missing then, its own server pulls again.
        remove_damaged(name, model, models_folder(os.environ))
    else:
        ensure({name: model}, _Lines().tell)


class _Lines:
    """Progress as plain lines."""

    def __init__(self) -> None:
        self._said = ""
        self._said_s = -LINE_S

    def tell(self, progress: Progress) -> None:
        words, now_s = progress_words(progress), time.monotonic()
        if words != self._said and now_s - self._said_s >= LINE_S:
            self._said, self._said_s = words, now_s
            print(words, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m engines.fetching")
    parser.add_argument("name")
    parser.add_argument("--lock", type=Path, required=True)
    asked = parser.parse_args(arguments)
    try:
        fetch_model(asked.name, asked.lock)
    except (LockError, DownloadError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or asked.lock} cannot be read: {error.strerror or error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
