"""Who leaves the line because somebody in it would be late. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from router.spilling.pool import Ahead, Pool, Reach
from router.spilling.room import FIRST
from router.spilling.tariff import Tariff
from router.spilling.want import Want

# Of a promise, so much is kept for what nobody foresees.
MARGIN_S = 0.25
# Room that even a short prompt takes.
LEAST_TOKENS = 50


def leaving(line: list[Want], pool: Pool, tariff: Tariff, now_s: float) -> Iterator[Want]:
    """While somebody would be late, whoever is worth least for its room goes, of all up to that one that wait for some
    of the same engines; the late one itself where nobody's going would help it. Takes them from `line`, one by one:
    whoever asks for the next has dealt with the last."""
    while (found := _first_late(line, pool, now_s)) is not None:
        at, reach = found
        late = line[at]
        if _is_late(late, reach, pool, now_s):
            least = late
        else:
            # Of equals the last goes: who has waited longest stays.
            going = [each for each in line[at::-1] if each is late or not reach.isdisjoint(pool.reach(each))]
            least = min(going, key=lambda each: tariff.least_usd(each, now_s) / (each.prompt_tokens + LEAST_TOKENS))
        line.remove(least)
        yield least


def _first_late(line: Sequence[Want], pool: Pool, now_s: float) -> tuple[int, Reach] | None:
    ahead = Ahead(pool, line)
    for at, want in enumerate(line):
        reach = pool.reach(want)
        ttft_s = pool.forecast(reach, now_s).ttft_s(ahead.of(reach), want.prompt_tokens, want.fresh_tokens)
        if now_s + ttft_s > want.due_s - MARGIN_S:
            return at, reach
        ahead.add(want, reach)
    return None


def _is_late(want: Want, reach: Reach, pool: Pool, now_s: float) -> bool:
    """With nobody before it."""
    ttft_s = pool.forecast(reach, now_s).ttft_s(FIRST, want.prompt_tokens, want.fresh_tokens)
    return now_s + ttft_s > want.due_s - MARGIN_S
