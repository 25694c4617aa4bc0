"""What the life of an engine needs to know of its kind: how it is started, and how it is asked while it runs.

`Kind` is pure: a plan in, words out. A `Pulse` belongs to one run of one engine and does the asking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from engines.kinds.wire import Wire
from engines.life.lifecycle import Event
from engines.plan import EnginePlan
from engines.snapshot import EngineUse, Load

# What happens now in words, and the step of the lifecycle that goes with it, if any.
Say = Callable[[str, Event | None], None]


class NotServableError(Exception):
    """The engine runs, but cannot serve what was planned. The message names the cause and what to do. `is_permanent`:
    another try would end alike."""

    def __init__(self, message: str, is_permanent: bool = False) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent


class Pulse(Protocol):
    """One run of an engine, asked from outside. What it told last only grows old when it falls silent."""

    @property
    def url(self) -> str:
        """Without `/v1`."""

    @property
    def fault(self) -> str | None:
        """What is wrong with it though it serves (figures that it does not tell, a model half on the CPU), in words."""

    async def prepare(self, say: Say) -> bool:
        """Once its server answers, do what is missing until it can serve (pull, load). False while it does not answer;
        called again until True. Raises NotServableError."""

    async def is_ours(self) -> bool:
        """Whether the very engine that was started answers at the URL, not a stranger that took its port."""

    async def completes(self, limit_s: float) -> bool:
        """Whether it makes a token within `limit_s`: the only proof that it serves. The canary."""

    async def is_healthy(self) -> bool:
        """Whether its server answers at all. A hung engine does."""

    async def listen(self) -> None:
        """Read its load and its count of steps, if it tells them."""

    def load(self, now_s: float, use: EngineUse) -> Load | None:
        """The last that it told, with its age; an engine that tells nothing of its load is as busy as `use` says."""

    def steps(self) -> int | None:
        """How many steps its engine has made, as it told last: stands still in one that hangs. None: it never tells."""

    def heard_s(self) -> float | None:
        """When it last told something, by time.monotonic()."""

    async def is_asleep(self) -> bool:
        """Whether it has handed its memory over; False where the kind never does."""

    async def sleep(self) -> None:
        """Hand its memory over but stay. Only where the kind `may_sleep`. Raises EngineSilentError."""

    async def wake(self) -> None:
        """Take its memory again. Raises EngineSilentError."""


class Kind(Protocol):
    """One kind of engine. `grace_s`: from TERM to KILL; `vital`: how the titles of processes begin that it cannot lose,
    "" if it can lose any."""

    name: str
    grace_s: float
    vital: str

    def command(self, plan: EnginePlan, port: int, mark: str) -> list[str]:
        """The command line. `mark` is a word of this run alone, by which its server can be told from all others."""

    def environment(self, plan: EnginePlan, user: Mapping[str, str], scratch: str, port: int) -> dict[str, str]:
        """The whole environment: what may pass of the user's, and our own. TMPDIR is `scratch`."""

    def phase(self, line: str) -> tuple[str, Event | None] | None:
        """What a log line says of the start; None if nothing."""

    def pulse(self, http: Wire, plan: EnginePlan, port: int, mark: str) -> Pulse:
        """The one to ask it."""
