"""Obeys stack.toml while the router runs: its tables are read again whenever the file's content has changed.

Tiers, tasks, clouds and limits count from then on, for requests that come; none under way is dropped. What a running
router cannot change is taken from its start: [endpoint], and drain_s, which its parent and the supervisor know too. A
file that cannot be used is refused, with words, and the rules that were obeyed last stay.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import structlog

from router.clouds.cloud import Clouds
from router.costs import costs
from router.gaps import gaps
from router.imagined import whole
from router.tables.kept import keep_rules_in
from router.tables.read import rules_of
from router.tables.rules import Rules
from router.tables.table import ConfigError
from router.upstream import Upstream
from router.watch import Watch

LOOK_EACH_S = 1.0
ITS_LOG = "its log has the traceback (`spillway logs router`)"

log = structlog.get_logger()


class Edits:
    """Looks at `path`; None for a router without a file. `refused` says why its content is not what is obeyed.

    `rules_fd` is where a worker that is started again finds the rules (`router.tables.kept`). `is_open`: engines are
    used of which the file does not tell (`router.gaps`).
    """

    def __init__(
        self,
        path: Path | None,
        watch: Watch,
        clouds: Clouds,
        upstream: Upstream,
        rules_fd: int | None,
        is_open: bool = False,
    ) -> None:
        self.path = path
        self.refused = ""
        self._watch = watch
        self._clouds = clouds
        self._upstream = upstream
        self._rules_fd = rules_fd
        self.is_open = is_open
        self._seen: bytes | None = None

    @property
    def seen_sha256(self) -> str:
        """Of the content that was looked at last, to which `refused` belongs; "" if none could be read."""
        return "" if self._seen is None else hashlib.sha256(self._seen).hexdigest()

    async def keep(self) -> None:
        """Look once a second, for ever."""
        self._tell_costs()
        async with asyncio.TaskGroup() as aside:
            while True:
                if self._has_changed():
                    # The first cloud with a key takes seconds to load, in which the next edit is obeyed as any other.
                    aside.create_task(self._warm())
                await asyncio.sleep(LOOK_EACH_S)

    def _has_changed(self) -> bool:
        """Whatever a look comes to, there is a next one: a router that obeys nobody any more would be worse."""
        try:
            if not self.look():
                return False
            self._tell_costs()
        except Exception as error:
            log.exception("stack.toml could not be judged or obeyed", path=str(self.path))
            self._refuse(f"{self.path}: the router failed at it ({type(error).__name__}); {ITS_LOG}")
        return True

    async def _warm(self) -> None:
        await self._clouds.warm()
        self._watch.cloud_off = self._clouds.off

    def look(self) -> bool:
        """Whether other rules are obeyed than before."""
        if self.path is None:
            return False
        try:
            content = self.path.read_bytes()
            if content == self._seen:
                return False
            self._seen = content
            rules = self._usable(rules_of(content, str(self.path)))
        except OSError as error:
            self._seen = None
            self._refuse(f"{self.path}: cannot be read ({error.strerror})")
            return False
        except ConfigError as error:
            self._refuse(str(error))
            return False
        self.refused = ""
        if rules == self._watch.rules:
            return False
        self._obey(rules)
        return True

    def _usable(self, rules: Rules) -> Rules:
        """As far as a running router can obey them. Raises ConfigError for holes in them."""
        watch, obeyed = self._watch, self._watch.rules
        models = watch.snapshot.models if watch.snapshot else ()
        if holes := gaps(rules, models, watch.deployed.prices, watch.deployed.environment, self.is_open):
            raise ConfigError("\n".join(f"{self.path}: {hole}" for hole in holes))
        limits = rules.limits.model_copy(update={"drain_s": obeyed.limits.drain_s})
        return rules.model_copy(update={"endpoint": obeyed.endpoint, "limits": limits})

    def _obey(self, rules: Rules) -> None:
        """All at once: nothing is awaited, so no request sees half of it."""
        self._watch.obey(rules)
        self._clouds.obey(self._watch.deployed.all)
        self._watch.cloud_off = self._clouds.off
        self._upstream.limits = rules.limits
        if self._rules_fd is not None:
            keep_rules_in(self._rules_fd, rules)
        log.info("stack.toml has changed and is obeyed", path=str(self.path))

    def _tell_costs(self) -> None:
        rules = self._watch.rules
        for cost in costs(rules, whole(self._watch.now(), rules)):
            usd = "not known" if cost.usd is None else round(cost.usd, 6)
            log.info("what a job costs by the prices of today", job=cost.job, preset=cost.preset, usd=usd)

    def _refuse(self, why: str) -> None:
        if why != self.refused:
            log.warning("stack.toml is refused, the old rules stay", why=why)
        self.refused = why
