"""Fetches what is missing or damaged of the locked models before they start: disk first, resumed, verified, with
progress.

Only models of the Hugging Face hub are fetched: built-in ones and folders are there or refused, Ollama keeps its own.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engines.errors import SpillwayError
from engines.models.files import DamagedError, refuse_strays, verify_file
from engines.models.hub import HubError
from engines.models.hub_cache import WantedFile, WrongBytesError, hub_cache
from engines.models.lock import LockedFile, LockedModel
from engines.models.locked import model_folder
from engines.models.tally import Report, Tally
from engines.models.together import Stop, together
from engines.models.verified import Verified

HUB = "hf:"
OLLAMA = "ollama:"
# One connection to the hub's content network gives less than a good line does. As many as snapshot_download has.
CONNECTIONS = 8
HASHERS = min(4, os.cpu_count() or 1)
# For what a file system takes besides the bytes, and so that it is not full afterwards.
MARGIN = 1.1
GB, MB = 1_000_000_000, 1_000_000
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

FreeBytes = Callable[[Path], int]


class DownloadError(SpillwayError, ValueError):
    """What is missing cannot be fetched. One or two sentences with the way to mend it; what has come stays and is not
    fetched again."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A locked file that is not in the cache. `have_bytes` of it are there, in an earlier try's part or as the content
    of another revision. `is_damaged`: it is there, with other bytes."""

    name: str
    file: WantedFile
    have_bytes: int
    is_damaged: bool = False

    @property
    def left_bytes(self) -> int:
        return self.file.bytes - self.have_bytes


def free_bytes(path: Path) -> int:
    """What the file system of a folder that may not be there yet has to give."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def ensure(models: Mapping[str, LockedModel], report: Report, free: FreeBytes = free_bytes) -> None:
    """Every file of these models is there and is the locked one when this returns. Raises DownloadError, and LockError
    for a file of your own that is not what models.lock says."""
    gaps = missing(models)
    if gaps:
        fetch(gaps, report, free)
    mended: set[tuple[str, str]] = set()
    while damaged := _damaged(models, report):
        # Each at most once: what comes back with other bytes again is not the hub's to mend.
        if (file := (damaged.name, damaged.file.path)) in mended or not models[damaged.name].source.startswith(HUB):
            raise damaged
        mended.add(file)
        _mend(models[damaged.name], damaged, report, free)


def _damaged(models: Mapping[str, LockedModel], report: Report) -> DamagedError | None:
    try:
        check(models, report)
    except DamagedError as error:
        return error
    return None


def _mend(model: LockedModel, damaged: DamagedError, report: Report, free: FreeBytes) -> None:
    gap = Missing(damaged.name, _wanted(model, damaged.file), 0, is_damaged=True)
    try:
        fetch([gap], report, free)
    except DownloadError as error:
        raise DownloadError(
            f"{gap.file.pointer} is damaged: its bytes are not those of models.lock; {error}"
        ) from error


def _wanted(model: LockedModel, file: LockedFile) -> WantedFile:
    return WantedFile(model.source.removeprefix(HUB), model.revision, file.path, file.bytes, file.sha256)


def missing(models: Mapping[str, LockedModel]) -> tuple[Missing, ...]:
    """The locked files of the hub that are not in the cache, or not whole; each once. Asks nobody."""
    gaps: dict[WantedFile, Missing] = {}
    for name, model in models.items():
        if not model.source.startswith(HUB):
            continue
        for file in model.files:
            wanted = _wanted(model, file)
            if wanted not in gaps and not wanted.is_here():
                gaps[wanted] = Missing(name, wanted, wanted.have_bytes())
    return tuple(gaps.values())


def fetch(gaps: Sequence[Missing], report: Report, free: FreeBytes = free_bytes) -> None:
    """Fetches and verifies them. Nothing is fetched if the disk is too small or the hub refuses one of them."""
    _require_disk(sum(gap.left_bytes for gap in gaps), free)
    etags: dict[WantedFile, str] = {}
    tally = Tally("asking", sum(gap.file.bytes for gap in gaps))
    together([partial(_ask, gap, etags) for gap in gaps], CONNECTIONS, lambda: report(tally.progress()))
    tally = Tally("fetching", sum(gap.file.bytes for gap in gaps))
    jobs = [partial(_fetch, gap, etags[gap.file], tally) for gap in gaps]
    together(jobs, CONNECTIONS, lambda: report(tally.progress()))


def check(models: Mapping[str, LockedModel], report: Report) -> None:
    """Raises LockError for a file that is not the locked one. Large files are read once, and then only when changed."""
    ours = {name: model for name, model in models.items() if not model.source.startswith(OLLAMA)}
    tally = Tally("verifying", sum(model.stored_bytes() for model in ours.values()))
    verified = Verified()

    def verify(name: str, model: LockedModel, number: int, stop: Stop) -> None:
        file = model.files[number]

        def on_bytes(count: int) -> None:
            stop.check()
            tally.moved(count)

        with tally.doing(f"{name}/{file.path}"):
            verify_file(name, model, file, model_folder(model), verified, on_bytes)

    jobs = [partial(verify, name, model, at) for name, model in ours.items() for at in range(len(model.files))]
    together(jobs, HASHERS, lambda: report(tally.progress()))
    for name, model in ours.items():
        refuse_strays(name, model, model_folder(model))


def _ask(gap: Missing, etags: dict[WantedFile, str], stop: Stop) -> None:
    # Loaded only when something is fetched: an HTTP client and half of huggingface_hub come with it.
    from engines.models.transfer import look_up  # noqa: PLC0415

    with _our_words(gap):
        etags[gap.file] = look_up(gap.file, stop)


def _fetch(gap: Missing, etag: str, tally: Tally, stop: Stop) -> None:
    from engines.models.transfer import transfer  # noqa: PLC0415 - as in `_ask`

    file = gap.file
    with tally.doing(str(file)), _our_words(gap):
        if gap.is_damaged:
            # Only now, when the hub has answered. What it leads to goes when its bytes were read and found wrong.
            file.pointer.unlink(missing_ok=True)
        transfer(file, etag, tally, stop)
    # It was hashed while it came: it need not be read again.
    Verified().remember(file.pointer, file.sha256, file.pointer.stat())


@contextmanager
def _our_words(gap: Missing) -> Iterator[None]:
    what = f"cannot download {gap.file.path} of [models.{gap.name}]"
    try:
        yield
    except WrongBytesError as error:
        raise DownloadError(
            f"{what}: hf:{gap.file.repo}: {error}. Run `spillway lock` if models.lock is wrong; "
            "else a proxy or mirror (HF_ENDPOINT) on the way changes files."
        ) from error
    except HubError as error:
        raise DownloadError(f"{what}: {error}") from error
    except OSError as error:
        raise DownloadError(f"{what}: {_disk_words(error)}") from error
    except NotImplementedError as error:
        where = f"the file system of {hub_cache()} knows no locks"
        raise DownloadError(f"{what}: {where}. Set HF_HOME to a folder on another disk.") from error


def _disk_words(error: OSError) -> str:
    cache = hub_cache()
    if error.errno in FULL:
        return (
            f"the disk of {cache} is full. What has come stays there and is not fetched again: free some space, then "
            "try again."
        )
    return f"{cache} cannot be written ({error.strerror or error}). Make it writable, or set HF_HOME to another folder."


def _require_disk(left_bytes: int, free: FreeBytes) -> None:
    cache = hub_cache()
    needed_bytes, free_there = int(left_bytes * MARGIN), free(cache)
    if free_there < needed_bytes:
        raise DownloadError(
            f"the download needs {size(needed_bytes)} ({MARGIN} x the {size(left_bytes)} still to fetch) on the disk "
            f"of {cache}; {size(free_there)} are free there. Free some, or set HF_HOME to a folder on another disk."
        )


def size(count: float) -> str:
    """For people, in the units of disks and downloads."""
    return f"{count / GB:.1f} GB" if count >= GB else f"{count / MB:.1f} MB"
