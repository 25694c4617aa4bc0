"""What is at an engine and not this process's own: what other processes of this router have there, and strangers."""

from __future__ import annotations

from engines.snapshot import Load
from router.spilling.strangers import Strangers


class Others:
    """One writer: its EngineLoad. `running` of them decode and hold `kv_tokens`; `waiting` have no first token, and of
    their prompts `unread_tokens` are known to be read yet. All of them together, reckoned when one of them changes."""

    __slots__ = ("_beside", "kv_tokens", "running", "strangers", "unread_tokens", "waiting")

    def __init__(self) -> None:
        self.strangers = Strangers()
        self._beside = (0, 0, 0.0)
        self.running, self.waiting = 0, 0
        self.unread_tokens, self.kv_tokens = 0.0, 0.0

    def beside(self, running: int, waiting: int, unread_tokens: float, kv_tokens: float) -> None:
        """What the other processes of this router have there by now."""
        self._beside = (running, waiting, kv_tokens)
        self.unread_tokens = unread_tokens
        self._sum()

    @property
    def beside_tokens(self) -> float:
        """KV tokens that the other processes of this router hold."""
        return self._beside[2]

    def hear(self, load: Load, now_s: float) -> None:
        """The engine has said how it stands."""
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
