"""All of stack.toml that the router obeys, as one frozen value."""

from __future__ import annotations

from functools import cached_property

from pydantic import Field

from router.tables.chain import Chain
from router.tables.cloud import Cloud
from router.tables.comparison import Shadow, Split
from router.tables.endpoint import Endpoint
from router.tables.job import Job
from router.tables.limits import Limits
from router.tables.model import ExternalServer, LocalModel
from router.tables.preset import Preset
from router.tables.provider import Provider
from router.tables.route import Route
from router.tables.strategy import Strategy
from router.tables.table import Name, Table
from router.tables.task import Task
from router.tables.tier import Tier


class Rules(Table):
    """The tables by name. What one says of another is checked by `router.tables.checks`, before anything obeys them."""

    active_preset: str | None = None
    endpoint: Endpoint = Endpoint()
    tiers: dict[Name, Tier] = Field(min_length=1)
    tasks: dict[Name, Task] = {}
    presets: dict[Name, Preset] = {}
    providers: dict[Name, Provider] = {}
    clouds: dict[Name, Cloud] = {}
    chains: dict[str, Chain] = {}
    routes: tuple[Route, ...] = ()
    shadows: dict[Name, Shadow] = {}
    splits: dict[Name, Split] = {}
    jobs: dict[Name, Job] = {}
    limits: Limits = Limits()
    models: dict[str, LocalModel] = {}
    external: dict[str, ExternalServer] = {}

    @property
    def preset(self) -> Preset | None:
        """The active one."""
        return None if self.active_preset is None else self.presets[self.active_preset]

    @cached_property
    def wants_affinity(self) -> bool:
        """Whether it matters anywhere who has read a prompt before. Kept, because each request asks it."""
        strategies = [
            *(tier.strategy for tier in self.tiers.values()),
            *(task.strategy for task in self.tasks.values()),
            *(route.strategy or {} for route in self.routes),
        ]
        return any(weights.get(Strategy.AFFINITY) for weights in strategies)
