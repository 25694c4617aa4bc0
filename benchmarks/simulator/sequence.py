"""What a request is to the world, and what it is inside one engine. Values without decisions."""

from __future__ import annotations

from benchmarks.simulator.blocks import Piece


class Request:
    """One arrival. Made by the world, which writes `place` and `sent_s`; the engine or cloud writes the other times.

    `expected_ttft_s` is the policy's to write when it places it: what it expects from then to the first token. A cloud
    that was silent until `again_s` was called a second time then, and the first token `came_again` if that was first.
    """

    __slots__ = (
        "again_s",
        "arrival_s",
        "came_again",
        "end_s",
        "expected_ttft_s",
        "first_s",
        "number",
        "output_tokens",
        "place",
        "prefix",
        "prompt_tokens",
        "sent_s",
        "tenant",
    )

    def __init__(
        self,
        number: int,
        arrival_s: float,
        prompt_tokens: int,
        output_tokens: int,
        tenant: str | None = None,
        prefix: tuple[int, ...] = (),
    ) -> None:
        self.number = number
        self.arrival_s = arrival_s
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.tenant = tenant
        self.prefix = prefix
        self.sent_s: float | None = None
        self.first_s: float | None = None
        self.end_s: float | None = None
        self.expected_ttft_s: float | None = None
        self.again_s: float | None = None
        self.came_again = False
        self.place: str | None = None


class Sequence:
    """A request inside an engine.

    Before it decodes, `computed` of its `target` tokens have KV and `made` were answered. While it decodes, at step s
    it has made `lead + s` tokens and has KV for `base + s`, so that nothing needs to be written at each step.
    """

    __slots__ = (
        "base",
        "blocks",
        "computed",
        "filling",
        "finish",
        "gone",
        "lead",
        "made",
        "own",
        "phase",
        "pieces",
        "ready",
        "request",
        "shared",
        "target",
    )

    def __init__(self, request: Request, ready: int) -> None:
        self.request = request
        self.ready = ready
        self.made = 0
        self.target = request.prompt_tokens
        self.computed = 0
        self.blocks = 0
        # Of the blocks, those in pieces of a prefix: others may hold them too.
        self.shared = 0
        self.pieces: list[Piece] = []
        self.filling: list[tuple[Piece, int]] = []
        self.own: Piece | None = None
        # The step after which it ends; None while it does not decode.
        self.finish: int | None = None
        self.lead = 0
        self.base = 0
        self.phase = 0
        self.gone = False
