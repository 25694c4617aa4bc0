"""The router's process: adopted or started, and started again whenever it ends or must be another one.

It outlives a supervisor that dies. What it reads again by itself, all tables but [endpoint], is no reason for another.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from engines.home import logs_folder
from engines.life.lifecycle import failures_after, wait_s
from engines.pause import pause
from engines.plan import Plan
from engines.processes.keeper import Orders
from engines.processes.process import Kept, how_ended, sweep_orphans
from engines.processes.record import ProcessId, Record, records_folder

NAME = "router"
# Beyond its drain: a router ends what is left, and one with workers waits for the slowest of them.
GRACE_S = 7.0


class RouterLife:
    """`say` is told what happens; `keepers` is the supervisor's set of those that live."""

    def __init__(self, home: Path, keepers: set[int], reviver: Sequence[str], say: Callable[[str], None]) -> None:
        self._home, self._keepers, self._reviver, self._say = home, keepers, reviver, say
        self._plan: Plan | None = None
        self._code, self._digest = code_digest("router", "ground"), ""
        self._changed = asyncio.Event()
        self._stopping = False

    def want(self, plan: Plan) -> None:
        """From now on as this plan says."""
        self._plan = plan
        digest = digest_of(plan, self._code)
        if digest != self._digest:
            self._digest = digest
            self._changed.set()

    def stop(self) -> None:
        self._stopping = True
        self._changed.set()

    async def run(self, found: Record | None) -> None:
        """Until `stop`, and gone. `found` is the router of an earlier supervisor; one that is as wanted goes on."""
        failures = 0
        while not self._stopping:
            self._changed.clear()
            began_s = time.monotonic()
            is_adopted = found is not None
            kept = self._adopt(found) if found else self._start()
            found = None
            if kept:
                code, was_asked = await self._until_over(kept)
                if was_asked:
                    failures = 0
                    continue
                if is_adopted:
                    # Its supervisor may have told it to end before it went: that is no failure of the next one.
                    self._say(f"router of the supervisor before has ended: {how_ended(code)}")
                    continue
                self._say(f"router ended: {how_ended(code)}")
            failures = failures_after(failures, time.monotonic() - began_s)
            await pause(self._changed, wait_s(failures))

    def _adopt(self, record: Record) -> Kept:
        """One that differs is ended in order, as soon as it is waited for."""
        names = self._plan.router.variables if self._plan else ()
        if record.note == self._digest and has_environment(record.child, names):
            self._say("router of the supervisor before is adopted")
        else:
            self._changed.set()
        return Kept.adopt(record, self._home)

    def _start(self) -> Kept | None:
        try:
            return Kept.start(self._orders(), environment(os.environ, self._home))
        except OSError as error:
            self._say(f"router cannot be started: {error}")
            return None

    async def _until_over(self, kept: Kept) -> tuple[int, bool]:
        """Its exit code, and whether we asked for its end."""
        self._keepers.add(kept.keeper_pid)
        ended = asyncio.create_task(kept.wait())
        changed = asyncio.create_task(self._changed.wait())
        await asyncio.wait({ended, changed}, return_when=asyncio.FIRST_COMPLETED)
        was_asked = not ended.done()
        changed.cancel()
        kept.terminate()
        code = await ended
        self._keepers.discard(kept.keeper_pid)
        await sweep_orphans(self._keepers)
        return code, was_asked

    def _planned(self, rules: str) -> list[str]:
        """What it obeys if by now stack.toml is refused. On a full disk it starts without."""
        path = self._home / "rules.json"
        try:
            path.write_text(rules, encoding="utf-8")
        except OSError:
            return []
        return ["--planned", str(path)] if rules else []

    def _orders(self) -> Orders:
        assert self._plan
        return Orders(
            name=NAME,
            command=[*self._plan.router.command, *self._planned(self._plan.router.rules)],
            log=str(logs_folder(self._home) / f"{NAME}.log"),
            record=str(records_folder(self._home) / f"{NAME}.json"),
            scratch=None,
            grace_s=self._plan.router.drain_s + GRACE_S,
            outlives=True,
            reviver=list(self._reviver),
            note=self._digest,
        )


def environment(user: Mapping[str, str], home: Path) -> dict[str, str]:
    """The user's own environment, cloud keys included: the router is ours and needs them."""
    return {**user, "SPILLWAY_HOME": str(home)}


def digest_of(plan: Plan, code: str) -> str:
    """Changes with all that a router reads only once, but for the keys in its environment: its command and code, and
    where it listens."""
    router = plan.router
    endpoint = json.loads(router.rules)["endpoint"] if router.rules else None
    text = json.dumps([router.command, router.host, router.port, router.keys_env, endpoint, code])
    return hashlib.sha256(text.encode()).hexdigest()


def has_environment(process: ProcessId | None, names: Collection[str]) -> bool:
    """Whether a process was started with the values that these variables have here."""
    if process is None or not process.lives():
        return False
    try:
        pairs = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    known = dict(pair.partition(b"=")[::2] for pair in pairs)
    return all(known.get(os.fsencode(name)) == _value(name) for name in names)


def _value(name: str) -> bytes | None:
    return os.environb.get(os.fsencode(name))


def code_digest(*packages: str) -> str:
    """Changes with the code of these packages of ours."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for path in sorted(path for package in packages for path in (root / package).rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()
