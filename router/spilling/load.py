"""What a router knows of one engine from its own requests there: who waits for a first token, who decodes, what they
hold in its KV cache. The clock is passed in, and every event costs the same however many are there.

Sequences of one engine move in step: each gets one token a step. So one count of steps says how far all of them are;
it runs by what a step is believed to take, and is put right by every count of tokens that anybody has seen. What was
measured between two such counts is what `Speeds` learns from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from engines.snapshot import Load
from router.spilling.accuracy import Accuracy
from router.spilling.glance import NOBODY, glance
from router.spilling.others import Others
from router.spilling.prefilling import Prefilling
from router.spilling.prompts import Prompts
from router.spilling.sample import Sample
from router.spilling.sequences import Sequences
from router.spilling.slow_start import SlowStart
from router.spilling.speeds import Speeds, pairs_of
from router.spilling.standing import Standing
from router.spilling.stay import Stay

# Between two steps tokens are half a step old on average.
HALF = 0.5
# Where less than this share of the KV cache is left, an engine may have found no room where it was believed to be.
SCARCE = 0.1


class EngineLoad:
    """One writer. `sent`, then `began`, any number of `counted`, `ended`, each with a moment that never goes back.

    `kv_capacity_tokens` is None until it is known: then all is believed to fit. `tpot_s` is what is promised there.
    Where it `is_opaque` nobody tells how it works inside: it may be several, and gets what it seems to begin in time.
    """

    __slots__ = (
        "_at_s",
        "_most_sequences",
        "_prefilling",
        "_prompts",
        "_slow",
        "_standing",
        "accuracy",
        "decoding",
        "glance",
        "is_opaque",
        "kv_capacity_tokens",
        "others",
        "speeds",
        "version",
    )

    def __init__(
        self,
        speeds: Speeds,
        kv_capacity_tokens: int | None = None,
        *,
        most_sequences: int = 256,
        tpot_s: float = 0.1,
        now_s: float = 0.0,
    ) -> None:
        self.speeds = speeds
        self.accuracy = Accuracy()
        self.others = Others()
        self.kv_capacity_tokens = kv_capacity_tokens
        self.is_opaque = False
        self.glance = NOBODY
        self._most_sequences = most_sequences
        self._at_s = now_s
        self._prompts = Prompts()
        self.decoding = Sequences(tpot_s)
        self._prefilling = Prefilling()
        self._slow = SlowStart()
        self._standing: Standing | None = None
        # How often something has happened here.
        self.version = 0

    # What happens.

    def sent(
        self,
        prompt_tokens: int,
        now_s: float,
        *,
        cached_tokens: int = 0,
        lengths: Sample | None = None,
        predicted_ttft_s: float | None = None,
        shows_first: bool = True,
    ) -> Stay:
        """A request goes there now. Of its prompt `cached_tokens` are expected to be known there. What is predicted of
        its first token is judged when that comes. Where its answer comes whole (not `shows_first`) nobody says when it
        began: it begins when its prompt should have been read, and nothing is learned from that."""
        self.advance(now_s)
        fresh = max(1, prompt_tokens - cached_tokens)
        pairs = pairs_of(prompt_tokens, prompt_tokens - fresh)
        stay = Stay(prompt_tokens, fresh, pairs, now_s, lengths, predicted_ttft_s, shows_first)
        self._prompts.add(stay)
        self._slow.sent(now_s)
        self._look(now_s, self._step_s() * self.speeds.tempo.lag_steps if self.decoding.stays else None)
        return stay

    def began(self, stay: Stay, now_s: float) -> None:
        """Its first token has come; may be said again."""
        if stay.first_s is not None or stay.ended or not stay.shows_first:
            return
        self.advance(now_s)
        while self._prompts.unseen and not (first := next(iter(self._prompts.waiting))).shows_first:
            # Prompts are read in order: what was sent before this one has begun too.
            self._begin_unseen(first)
        if stay.predicted_ttft_s is not None:
            self.accuracy.judge(stay.predicted_ttft_s, now_s - stay.sent_s)
        prompts, others = self._prompts, self.others
        sequences, kv_tokens = len(self.decoding.stays) + others.running, self.kv_tokens + others.kv_tokens
        if now_s > prompts.overdue_s:
            # It waited for room for a while and was not read all that time, as was believed then.
            read_s = self.speeds.tempo.prefill_s(stay.fresh_tokens, stay.pairs, sequences, kv_tokens)
            self._decode(max(0.0, prompts.overdue_s - prompts.reads_from_s - read_s))
        if not self._slow.is_over:
            self._slow.served(self._most_sequences)
        self._begin(stay, prompts.read(stay, now_s, self.speeds, sequences, kv_tokens))

    def _begin(self, stay: Stay, steps: int) -> None:
        """It decodes from now on; so many steps have read its prompt."""
        self.decoding.clock.read(steps)
        self._prefilling.read(steps)
        self.decoding.begin(stay, self._at_s)
        self._look(self._at_s)

    def counted(self, stay: Stay, tokens: int, now_s: float) -> None:
        """So many tokens of it were seen until now. One such count tells how far all the others are."""
        if stay.first_s is None or stay.ended:
            return
        self.advance(now_s)
        self._standing = None
        self.decoding.counted(stay, tokens + HALF, now_s, self.speeds)

    def ended(self, stay: Stay, tokens: int | None, now_s: float) -> None:
        """It is over, with so many tokens where that is known; also where it was aborted, or never gave one."""
        if stay.ended:
            return
        self.advance(now_s)
        stay.ended = True
        if stay.first_s is None:
            self._prompts.remove(stay)
        else:
            self.decoding.end(stay, tokens if stay.shows_first else None, now_s, self.speeds)
        if tokens is not None and not stay.shows_first and not self._slow.is_over:
            self._slow.served(self.most_sequences)
        self._look(now_s)

    def reported(self, load: Load, now_s: float) -> None:
        """The engine has said how it stands."""
        self.advance(now_s)
        self.others.hear(load, now_s, self.kv_tokens)
        self.kv_capacity_tokens = self.others.capacity_tokens or self.kv_capacity_tokens
        self._look(now_s)

    def beside(self, running: int, waiting: int, unread_tokens: float, kv_tokens: float) -> None:
        """What other processes of this router have there from the last event on, in the place of what was said last."""
        if self.others.beside(running, waiting, unread_tokens, kv_tokens):
            self._look(self._at_s)

    def advance(self, now_s: float) -> None:
        """Time has passed."""
        if now_s <= self._at_s:
            return
        prompts, others = self._prompts, self.others
        while prompts.unseen:
            sequences, kv_tokens = len(self.decoding.stays) + others.running, self.kv_tokens + others.kv_tokens
            read_s = prompts.unseen_s(self.speeds.tempo, sequences, kv_tokens)
            if read_s > now_s:
                break
            self._pass(read_s)
            self._begin_unseen(next(iter(prompts.waiting)))
        self._pass(now_s)
        if not self._slow.is_over and self._slow.passed(now_s, self._most_sequences):
            self._look(now_s)

    def _pass(self, now_s: float) -> None:
        passed_s = now_s - self._at_s
        if passed_s <= 0:
            return
        self._standing = None
        prompts, plain_s = self._prompts, passed_s
        if prompts.reads_from_s < now_s:
            read_s = min(now_s, prompts.overdue_s) - max(prompts.reads_from_s, self._at_s)
            plain_s = passed_s - max(0.0, read_s)
        self._at_s = now_s
        self._prefilling.passed(passed_s, passed_s - plain_s)
        if self.decoding.stays and plain_s:
            self._decode(plain_s)
        self.others.note(now_s, len(self.decoding.stays) + len(self._prompts.waiting), self.kv_tokens)

    # What is known.

    @property
    def kv_tokens(self) -> float:
        """What those who decode hold, as of the last event."""
        return self.decoding.kv_tokens

    @property
    def most_sequences(self) -> int:
        """That the engine takes at once; may change (slots)."""
        return self._most_sequences

    @most_sequences.setter
    def most_sequences(self, count: int) -> None:
        self._most_sequences = count
        self._look(self._at_s)

    def so_far(self, stay: Stay) -> float:
        """Tokens that it has, as of the last event; 0 before the first."""
        return 0.0 if stay.first_s is None else self.decoding.so_far(stay)

    def stays(self) -> list[Stay]:
        """Those that decode, in the order in which they began, and those without a first token."""
        return [*self.decoding.stays, *self._prompts.waiting]

    def newest_waiting(self) -> Iterator[Stay]:
        """Those without a first token, the last that was sent first."""
        return reversed(self._prompts.waiting)

    def at_risk(self, stall_s: float, steps: int) -> list[tuple[Stay, float]]:
        """Who of those that decode is beyond its promised time per token after such a stall, in which it makes so many
        tokens, and by how many seconds. Costs as much as there are such."""
        return self.decoding.beyond(self._at_s, stall_s, steps)

    def standing(self, now_s: float) -> Standing:
        """Made once for each moment, unless something happens in it."""
        self.advance(now_s)
        if self._standing is None:
            self._standing = self._stands(now_s)
        return self._standing

    # How it is reckoned.

    def _stands(self, now_s: float) -> Standing:
        prompts, others = self._prompts, self.others
        blocked = prompts.reads_from_s == math.inf
        kv_tokens = self.kv_tokens
        return Standing(
            tempo=self.speeds.tempo,
            sequences=len(self.decoding.stays),
            kv_tokens=kv_tokens,
            waiting=len(prompts.waiting),
            unread_tokens=self.glance.unread_tokens,
            unread_pairs=prompts.pairs,
            reading_s=0.0 if blocked else now_s - prompts.reads_from_s,
            waiting_tokens=prompts.held_tokens + others.unread_tokens,
            others_sequences=others.running,
            others_waiting=others.waiting,
            others_kv_tokens=others.kv_tokens,
            prefill_share=self._prefilling.share,
            prefill_steps_per_s=self._prefilling.steps_per_s,
            is_blocked=blocked and bool(prompts.waiting),
            kv_capacity_tokens=self.kv_capacity_tokens,
            most_sequences=self.most_sequences,
            takes_sequences=self._slow.of(self._most_sequences),
        )

    def _begin_unseen(self, stay: Stay) -> None:
        self._prompts.pass_by(stay, self._at_s)
        self._begin(stay, self.speeds.tempo.steps(stay.fresh_tokens, len(self.decoding.stays) + self.others.running))

    def _decode(self, seconds: float) -> None:
        sequences, others = len(self.decoding.stays), self.others
        kv_tokens = self.kv_tokens + others.kv_tokens
        self.decoding.clock.decode(seconds, self.speeds.tempo, sequences + others.running, kv_tokens, sequences)

    def _step_s(self) -> float:
        others = self.others
        return self.speeds.tempo.decode_s(len(self.decoding.stays) + others.running, self.kv_tokens + others.kv_tokens)

    def _fits(self, tokens: float, requests: int) -> bool:
        others = self.others
        if len(self.decoding.stays) + others.running + requests > self.most_sequences:
            return False
        capacity = self.kv_capacity_tokens
        return capacity is None or self.kv_tokens + others.kv_tokens + tokens <= capacity

    def _look(self, now_s: float, lag_s: float | None = None) -> None:
        """Whether the first prompt that waits is read now."""
        prompts, self._standing = self._prompts, None
        self.version += 1
        if not prompts.waiting:
            prompts.stop()
        elif self._fits(next(iter(prompts.waiting)).prompt_tokens, 1):
            prompts.begin(now_s, lag_s)
            if not self._fits(prompts.held_tokens + SCARCE * (self.kv_capacity_tokens or 0), len(prompts.waiting)):
                sequences, kv_tokens = len(self.decoding.stays), self.kv_tokens
                believed_s = self.speeds.tempo.prefill_s(prompts.tokens, prompts.pairs, sequences, kv_tokens)
                prompts.expect(believed_s, self._step_s())
        else:
            prompts.stop()
        takes, capacity = self._slow.of(self._most_sequences), self.kv_capacity_tokens
        self.glance = glance(prompts, self.decoding, self.others, takes, capacity)
