"""One attempt of a request at one target, under way. Written by `router.watch` only."""

from __future__ import annotations

import msgspec

from router.account import Account
from router.ids import new_id
from router.routing.fleet import Target


class Flight(msgspec.Struct, eq=False, gc=False):
    """One attempt under way. `queued_tokens` are the prompt tokens before its first token, its own included, when it
    was sent. `account` is where it is counted until it ends, whatever name its engine has by then."""

    account: Account
    target: Target
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

    @property
    def id(self) -> str:
        """Its name in the ledger, made when it is asked for: what runs at home never is."""
        if not self.name:
            self.name = new_id()
        return self.name
