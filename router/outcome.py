"""What happened to one request: a row of the ledger, and what the metrics count."""

from __future__ import annotations

from msgspec import Struct


class Outcome(Struct, frozen=True, gc=False):
    """`usd` is all that the request cost: its answer, 0 from local targets, and at clouds before that the tries that
    failed and the answers that nobody heard. Tokens are those of the answer. Times in seconds from arrival.

    `route` is the rule of [[routes]] that it followed. `arm` is its part of a comparison: the name of a split or
    shadow, and "/control" or "/trial". `shadow_of` is the request whose copy it is, and nobody was shown its answer.
    `wanted_usd` is what it would have cost at a cloud, where it stayed here because money was short. `sent_s` is when
    it was sent to the target that answered: before that it was held here, or tried elsewhere.

    Only texts and numbers, so that thousands of them can wait for the disk without work for the garbage collector.
    """

    request_id: str
    at_unix_s: float
    target: str
    model: str
    tier: str
    task: str | None
    tenant: str | None
    feature: str | None
    reason: str
    attempts: int
    status: int
    error: str | None
    prompt_tokens: int
    completion_tokens: int
    usd: float
    ttft_s: float | None
    e2e_s: float
    route: str | None = None
    arm: str | None = None
    shadow_of: str | None = None
    wanted_usd: float | None = None
    sent_s: float | None = None


# A new one goes to the end, where a file that is older gets it too.
COLUMNS: tuple[str, ...] = Outcome.__struct_fields__
