"""Fetching a model with Ollama, and proof that it is the one that models.lock names.

One directory serves all our servers, also those of other stacks of this user, and Ollama knows no lock between servers:
a file lock lets one of them write at a time. The lock ends with the process that holds it.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from engines.kinds.kind import NotServableError, Say
from engines.kinds.ollama_api import Pulled, after, digest_in, is_permanent
from engines.kinds.ollama_files import broken
from engines.kinds.wire import Wire
from engines.life.lifecycle import Event
from engines.models.ollama_names import REGISTRY_ENV

LOCK_NAME = "spillway.lock"
LOCK_PAUSE_S = 0.5
ANSWER_S = 30.0
# Ollama gives a part up after 30 s without a byte (server/download.go, downloadStallTimeout) and says so. It says
# nothing while it computes the digest of a file, which may have hundreds of GiB.
SILENCE_S = 1800.0
# Ollama itself tries each part six times; what came is kept, so that the next try goes on from there.
PAUSES_S = (1.0, 4.0, 16.0, 64.0)


class OllamaStore:
    """The models that one server sees. `name` is what the registry calls ours, `served` what it is asked for by."""

    def __init__(self, http: Wire, url: str, folder: Path, name: str, served: str, digest: str) -> None:
        self._http, self._url, self._folder = http, url, folder
        self._name, self._served, self._digest = name, served, digest

    async def digest(self, name: str) -> str | None:
        """Of a model that is there. Raises EngineSilentError, OllamaAnswerError."""
        return digest_in(await self._http.get(f"{self._url}/api/tags", ANSWER_S), name)

    async def ensure(self, say: Say, anew: bool = False) -> None:
        """See to it that the locked model is there by its served name, with all its files; pull it in any case if
        `anew`. Raises NotServableError, EngineSilentError, OllamaAnswerError."""
        if not anew and await self._is_there():
            return
        say(f"fetching {self._name}", Event.FETCH)
        lock = await self._locked(say)
        try:
            # Whoever had the lock may have brought it.
            if anew or not await self._is_there():
                await self._bring(say, anew or self._remove_broken())
        finally:
            lock.release()

    async def _is_there(self) -> bool:
        return await self.digest(self._served) == self._digest and not broken(self._folder, self._served)

    def _remove_broken(self) -> bool:
        """Whether there was anything of the locked model that cannot stay."""
        found = broken(self._folder, self._served)
        for path in found:
            path.unlink(missing_ok=True)
        return bool(found)

    async def _locked(self, say: Say) -> FileLock:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock, began_s = FileLock(self._folder / LOCK_NAME), time.monotonic()
            while True:
                try:
                    lock.acquire(blocking=False)
                except Timeout:
                    # Words that change, because whoever listens takes silence for a hang.
                    waited_s = time.monotonic() - began_s
                    say(f"waiting for another pull into {self._folder} ({waited_s:.0f} s)", Event.FETCH)
                    await asyncio.sleep(LOCK_PAUSE_S)
                else:
                    return lock
        except (OSError, NotImplementedError) as error:
            raise NotServableError(f"{self._folder} cannot be locked: {error}. Set SPILLWAY_OLLAMA_MODELS.") from error

    async def _bring(self, say: Say, anew: bool) -> None:
        pulled, insecure = place(self._name, os.environ.get(REGISTRY_ENV))
        source = self._name if not anew and await self.digest(self._name) == self._digest else pulled
        if anew or await self.digest(source) != self._digest:
            await self._pull(source, insecure, say)
        if (found := await self.digest(source)) != self._digest:
            raise NotServableError(
                f"{self._name} is {(found or 'nothing')[:12]} at the registry, and models.lock names "
                f"{self._digest[:12]}: the tag has moved. Run `spillway lock` to take the new one.",
                is_permanent=True,
            )
        if source != self._served:
            await self._http.post(f"{self._url}/api/copy", {"source": source, "destination": self._served}, ANSWER_S)

    async def _pull(self, source: str, insecure: bool, say: Say) -> None:
        error = await self._try(source, insecure, say)
        for pause_s in PAUSES_S:
            if error is None or is_permanent(error):
                break
            say(f"fetching {self._name} was cut off ({error}); goes on in {pause_s:g} s", Event.FETCH)
            await asyncio.sleep(pause_s)
            error = await self._try(source, insecure, say)
        if error is not None:
            raise NotServableError(f"{self._name} cannot be fetched: {error}.", is_permanent=is_permanent(error))

    async def _try(self, source: str, insecure: bool, say: Say) -> str | None:
        """The error it ended with, None if it did not: the status is 200 either way."""
        pulled, words = Pulled(), ""
        asked = {"model": source, "insecure": insecure, "stream": True}
        async for line in self._http.lines(f"{self._url}/api/pull", asked, SILENCE_S):
            pulled = after(pulled, line)
            if words != (words := pulled.words(self._name)):
                say(words, Event.FETCH)
        if pulled.error is None and not pulled.is_done:
            return f"it ended with {pulled.status or 'no word'!r}"
        return pulled.error


def place(name: str, registry: str | None) -> tuple[str, bool]:
    """What to pull, and whether without TLS: Ollama takes another registry as a part of the name only
    (types/model/name.go; server/images.go, makeRequest). A name with a host of its own stays.
    Raises NotServableError."""
    if not registry or name.count("/") > 1:
        return name, False
    parts = urlsplit(registry)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        raise NotServableError(
            f"{REGISTRY_ENV} = {registry!r} must be a scheme and a host, such as https://registry.example.com.",
            is_permanent=True,
        )
    path = name if "/" in name else f"library/{name}"
    return f"{parts.netloc}/{path}", parts.scheme == "http"
