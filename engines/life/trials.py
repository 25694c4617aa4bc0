"""What was tried of a planned engine, what came of it, and what is tried next. One writer: the engine's own task."""

from __future__ import annotations

from engines.plan import EnginePlan
from engines.starting import ladder
from engines.starting.failure import Failure
from engines.starting.symptoms.symptom import Trouble


class Trials:
    """`plan` is what is started next, or runs; `failed` counts starts in a row that failed alike."""

    def __init__(self, planned: EnginePlan) -> None:
        self.planned = self.plan = planned
        self.because = ""
        self.failed = 0
        self.last_error: str | None = None
        self._last_trouble: Trouble | None = None

    @property
    def changes(self) -> str:
        """In what the engine differs from the planned one, and why; "" if it does not."""
        words = ladder.changes(self.planned, self.plan)
        return f"{words}, because {self.because}" if words else ""

    @property
    def port_was_taken(self) -> bool:
        return self._last_trouble is Trouble.PORT

    def found(self, plan: EnginePlan, because: str) -> None:
        """It runs already, as an earlier supervisor started it."""
        self.plan, self.because = plan, because

    def served(self) -> None:
        """A start succeeded."""
        self.failed = 0

    def anew(self) -> None:
        """Something has changed: it is tried as planned."""
        self.plan, self.because, self.failed = self.planned, "", 0

    def ended(self, failure: Failure, has_served: bool, crashes: int) -> str:
        """Decide on the next start after an end; why there is none, or "". An engine that has served can do so again,
        unless it ended so many times in a row soon after."""
        self._last_trouble, self.last_error = failure.trouble, failure.words()
        self.failed = 0 if has_served else self.failed + 1
        following = ladder.next_try(self.planned, self.plan, failure, self.failed)
        if isinstance(following, EnginePlan):
            if following != self.plan:
                self.plan, self.because, self.failed = following, failure.cause, 0
                self.last_error = f"{self.last_error} Next it is tried with {self.changes}."
        elif not has_served:
            self.last_error = following.why
            return following.why
        if has_served and (looped := ladder.crash_loop(failure, crashes)):
            self.last_error = looped.why
            return looped.why
        return ""
