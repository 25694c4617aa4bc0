"""What is at an engine and not this process's own: what other processes of this router have there, and strangers."""

from __future__ import annotations

from engines.snapshot import Load
from router.spilling.sharing import Sharing
from router.spilling.strangers import Strangers


class Others:
    """One writer: its EngineLoad. `running` of them decode and hold `kv_tokens`; `waiting` have no first token, and of
    their prompts `unread_tokens` are known to be read yet. All of them together, reckoned when one of them changes.
    `capacity_tokens`: so many fit in, as requests add up to, of which more do where they share some."""

    __slots__ = (
        "_beside",
        "_sharing",
        "capacity_tokens",
        "kv_tokens",
        "running",
        "strangers",
        "unread_tokens",
        "waiting",
    )

    def __init__(self) -> None:
        self.strangers = Strangers()
        self._sharing = Sharing()
        self._beside = (0, 0, 0.0)
        self.capacity_tokens: int | None = None
        self.running, self.waiting = 0, 0
        self.unread_tokens, self.kv_tokens = 0.0, 0.0

    def beside(self, running: int, waiting: int, unread_tokens: float, kv_tokens: float) -> bool:
        """What the other processes of this router have there by now. Whether that is news."""
        if (running, waiting, kv_tokens) == self._beside and unread_tokens == self.unread_tokens:
            return False
        self._beside = (running, waiting, kv_tokens)
        self.unread_tokens = unread_tokens
        self._sum()
        return True

    def hear(self, load: Load, now_s: float, own_tokens: float) -> None:
        """The engine has said how it stands; this process's own requests there add up to so many tokens."""
        if load.kv_capacity_tokens > 0:
            self._sharing.hear(load, own_tokens + self._beside[2])
            self.capacity_tokens = round(load.kv_capacity_tokens / self._sharing.share)
        self.strangers.hear(load, now_s)
        self._sum()

    def note(self, now_s: float, requests: int, kv_tokens: float) -> None:
        """This process's own numbers. With those of the other processes they are no strangers'."""
        running, waiting, beside_tokens = self._beside
        self.strangers.note(now_s, requests + running + waiting, kv_tokens + beside_tokens)

    def _sum(self) -> None:
        strangers, (running, waiting, kv_tokens) = self.strangers, self._beside
        self.running = strangers.running + running
        self.waiting = strangers.waiting + waiting
        self.kv_tokens = strangers.kv_tokens + kv_tokens
