"""What a request wants of the engines that go first, in the terms of a sluice. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from router.ask import Ask
from router.routing.fleet import Target
from router.routing.forecast import tokens_of
from router.routing.gate import Gate, longest_wait_s
from router.spilling.lengths import Kind
from router.spilling.load import EngineLoad
from router.spilling.sample import Sample
from router.spilling.twin import Twin
from router.spilling.want import Want
from router.spilling.worth import Price, Worth

# What an engine can hardly keep even for one alone is promised to nobody: else all but one would be kept out for it.
HOPELESS = 0.8


class Arrival(msgspec.Struct, frozen=True):
    """A request before its gate: when it came, the moment of now, and how long it has been before gates already."""

    ask: Ask
    gate: Gate
    arrived_s: float
    now_s: float
    queued_s: float = 0.0

    @property
    def first(self) -> Target:
        """The engine in whose tokens it is reckoned."""
        return self.gate.engines[0]

    @property
    def prompt_tokens(self) -> int:
        return max(1, round(tokens_of(self.ask, self.first)[0]))


def kind_of(ask: Ask, prompt_tokens: int) -> Kind:
    """What answers are alike with the one that it will get."""
    return Kind(ask.tenant or "", ask.task or "", ask.model or "", ask.max_tokens, prompt_tokens)


def want_of(
    key: object,
    arrival: Arrival,
    lengths: Sample,
    load: EngineLoad,
    twin: Twin | None,
    worth: Callable[[int, Sample, Price | None], Worth],
) -> Want:
    """`load` is that of the first engine, `twin` what is known of the cloud that it may spill to."""
    ask, gate, now_s = arrival.ask, arrival.gate, arrival.now_s
    prompt_tokens, terms = arrival.prompt_tokens, gate.case.terms
    price = None if gate.twin is None else gate.twin.price
    tpot_s, alone_s = terms.tpot_target_s, load.speeds.tempo.decode_s(1, prompt_tokens)
    return Want(
        key=key,
        arrived_s=arrival.arrived_s,
        prompt_tokens=prompt_tokens,
        ttft_s=terms.ttft_target_s,
        tpot_s=tpot_s if alone_s < HOPELESS * tpot_s else math.inf,
        lengths=lengths,
        worth=worth(prompt_tokens, lengths, price),
        price=price,
        tier=ask.tier,
        twin=twin,
        engines=tuple([each.key for each in gate.engines]),
        keeps_order=gate.is_ordered,
        latest_s=_latest_s(arrival, prompt_tokens, lengths, load),
        # Who has waited for an engine to come may wait for room in it as well.
        patience_s=min(
            now_s - arrival.arrived_s + max(0.0, longest_wait_s(terms) - arrival.queued_s), ask.deadline_s or math.inf
        ),
        shows_first=ask.stream,
    )


def _latest_s(arrival: Arrival, prompt_tokens: int, lengths: Sample, load: EngineLoad) -> float:
    """When its answer must begin for the client's own deadline."""
    deadline_s = arrival.ask.deadline_s
    if deadline_s is None:
        return math.inf
    answer_s = lengths.mean * load.standing(arrival.now_s).tpot_s(prompt_tokens, lengths.mean)
    return arrival.arrived_s + deadline_s - answer_s
