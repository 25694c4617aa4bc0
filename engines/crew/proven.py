"""Which engine has been seen to serve under each name, and which was to take its place but does not start. Pure values
behind one writer, the crew.
"""

from __future__ import annotations

from collections.abc import Sequence

from engines.life.change import is_same
from engines.plan import EnginePlan


class Proven:
    """What runs under a name is what is wanted, unless that was rejected: then it is what served before."""

    def __init__(self) -> None:
        self._good: dict[str, EnginePlan] = {}
        self._rejected: dict[str, tuple[EnginePlan, str]] = {}

    def serves(self, plan: EnginePlan) -> None:
        self._good[plan.name] = plan

    def runs(self, plan: EnginePlan) -> None:
        """It runs, though nobody has seen it serve yet: better than nothing to go back to."""
        self._good.setdefault(plan.name, plan)

    def before(self, plan: EnginePlan) -> EnginePlan | None:
        """What served under this name and is not the same; None if nothing did."""
        found = self._good.get(plan.name)
        return None if found is None or is_same(found, plan) else found

    def reject(self, plan: EnginePlan, why: str) -> None:
        self._rejected[plan.name] = (plan, why)

    def instead_of(self, plan: EnginePlan) -> EnginePlan:
        """What shall run where this is wanted."""
        return self._good.get(plan.name, plan) if plan.name in self._rejected else plan

    def ask(self, plans: Sequence[EnginePlan], again: bool) -> None:
        """These are wanted now. What was rejected is tried anew if it is wanted differently, or `again`."""
        wanted = {each.name: each for each in plans}
        self._rejected = {
            name: (plan, why)
            for name, (plan, why) in self._rejected.items()
            if not again and name in wanted and is_same(plan, wanted[name])
        }
        self._good = {name: plan for name, plan in self._good.items() if name in wanted}

    @property
    def refused(self) -> str:
        """Which changes do not run though they were planned, and why; "" if all do."""
        return " ".join(why for _, why in self._rejected.values())
