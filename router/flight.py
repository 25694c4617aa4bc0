"""One attempt of a request at one target, under way. Written by `router.watch` only."""

from __future__ import annotations

import msgspec

from router.account import Account
from router.ids import new_id
from router.pools import Aboard
from router.reply import Reading
from router.routing.fleet import Target
from router.routing.pace import Finished, learn


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the target counted them."""

    prompt_tokens: int
    completion_tokens: int


class Flight(msgspec.Struct, eq=False, gc=False):
    """One attempt under way. `queued_tokens` are the prompt tokens before its first token, its own included, when it
    was sent. `account` is where it is counted until it ends, whatever name its engine has by then; `aboard` what it is
    among those of its model. `reading` is what has come of its answer, where that is a stream."""

    account: Account
    target: Target
    aboard: Aboard
    streams: bool
    prompt_bytes: int
    prompt_tokens: int
    promised_tokens: int
    queued_tokens: int
    was_full: bool
    sent_at_s: float
    first_token_at_s: float | None = None
    ended: bool = False
    name: str = ""
    reading: Reading | None = None

    @property
    def id(self) -> str:
        """Its name in the ledger, made when it is asked for: what runs at home never is."""
        if not self.name:
            self.name = new_id()
        return self.name

    def teach(self, prompt_tokens: int, completion_tokens: int, now_s: float) -> None:
        """Its target has answered with so many tokens: from that its pace is learned."""
        account, load, since_last_s = self.account, self.target.load, None
        if self.was_full:
            since_last_s = None if account.last_full_end_s is None else now_s - account.last_full_end_s
        account.last_full_end_s = now_s if self.was_full else None
        first_token_at_s = now_s if self.first_token_at_s is None else self.first_token_at_s
        done = Finished(
            self.prompt_bytes,
            prompt_tokens,
            completion_tokens,
            self.queued_tokens,
            first_token_at_s - self.sent_at_s,
            now_s - self.sent_at_s,
            self.streams,
            self.was_full,
            since_last_s,
            0 if load is None else load.kv_capacity_tokens,
        )
        account.pace = learn(account.pace, done)
