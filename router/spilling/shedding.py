"""Who leaves the line because somebody in it would be late. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from router.spilling.line import Line, Reach, overlap
from router.spilling.pool import Pool
from router.spilling.room import FIRST, Forecast
from router.spilling.tariff import MARGIN_S, Tariff
from router.spilling.want import Want

# Room that even a short prompt takes.
LEAST_TOKENS = 50


def leaving(line: Line, pool: Pool, tariff: Tariff, now_s: float, since: int = 0) -> Iterator[Want]:
    """While somebody would be late who has `since` or more before it, whoever is worth least for its room goes, of all
    up to that one that wait for some of the same engines; the late one itself where nobody's going would help it. Takes
    them from `line`, one by one: whoever asks for the next has dealt with the last."""
    longer = {tier: tariff.longer(tier) for tier in {want.tier for want in line.wants[since:]}}
    while (late := _first_late(line, pool, longer, now_s, since)) is not None:
        want, reach = line.wants[late], line.reaches[late]
        least = late
        alone_s = pool.forecast(reach, now_s).ttft_s(FIRST, want.prompt_tokens, want.fresh_tokens)
        if not _is_late(want, alone_s, now_s, longer[want.tier]):
            least_usd = float("inf")
            # Of equals the last goes: who has waited longest stays.
            for at in range(late, -1, -1):
                each = line.wants[at]
                usd = tariff.least_usd(each, now_s) / (each.prompt_tokens + LEAST_TOKENS)
                if usd < least_usd and (at == late or not reach.isdisjoint(line.reaches[at])):
                    least, least_usd = at, usd
        since -= least < since
        yield line.pop(least)


def _first_late(line: Line, pool: Pool, longer: Mapping[str, float], now_s: float, since: int) -> int | None:
    wants, reaches, more = line.wants, line.reaches, line.more
    # What is before the next one, for each set of engines that somebody in the line waits for.
    ahead: dict[Reach, tuple[Forecast, list[float]]] = {}
    for at in range(since, len(wants)):
        want, reach = wants[at], reaches[at]
        known = ahead.get(reach)
        if known is None:
            known = ahead[reach] = (pool.forecast(reach, now_s), [*line.before(at, reach)])
        tokens, fresh_tokens = want.prompt_tokens, want.fresh_tokens
        if _is_late(want, known[0].ttft_s(known[1], tokens, fresh_tokens), now_s, longer[want.tier]):
            return at
        for other, (_, sums) in ahead.items():
            share = more if other is reach else more * overlap(reach, other)
            sums[0] += share * tokens
            sums[1] += share * fresh_tokens
            sums[2] += share
    return None


def _is_late(want: Want, ttft_s: float, now_s: float, longer: float) -> bool:
    """Whose first token is expected after so long, and may take so many times that."""
    return now_s + longer * ttft_s > want.due_s - MARGIN_S
