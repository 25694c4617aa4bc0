"""All of stack.toml that the router obeys, as one frozen value."""

from __future__ import annotations

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
