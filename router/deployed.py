"""Where the rules, the lock and the environment say that models run in clouds: found anew when one of them changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from engines.snapshot import ModelView
from ground.prices import Listed
from router.registry import Deployment, deployments
from router.tables.rules import Rules


class Deployed:
    """Belongs to `router.watch`. `all` are read by whoever calls clouds."""

    def __init__(self, prices: Mapping[str, Listed], environment: Mapping[str, str]) -> None:
        self.prices, self.environment = prices, environment
        self.all: tuple[Deployment, ...] = ()
        # Called when there are other deployments, or they have other bounds.
        self.on_change: Callable[[Sequence[Deployment]], None] | None = None
        self._found_by: tuple[Rules, tuple[ModelView, ...]] | None = None

    def find(self, rules: Rules, models: tuple[ModelView, ...]) -> None:
        """Only where something has changed: the engines tell of themselves twice a second."""
        by = (rules, models)
        if by != self._found_by:
            self._found_by = by
            self.all = deployments(rules, models, self.prices, self.environment)
            if self.on_change is not None:
                self.on_change(self.all)
