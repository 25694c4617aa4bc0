"""What an owner wants to know, in plain words. Pure."""

from __future__ import annotations

import math

from benchmarks.report.quantity import digits
from benchmarks.whatifs.answer import Answer
from benchmarks.whatifs.case import Case
from benchmarks.whatifs.reckoned import Reckoned

ONE_MORE, ONE_LESS, LONGER = Case(1), Case(-1), Case(factor=1.5)
# Below these nobody speaks of a spill, or of money.
LEAST_SHARE, LEAST_USD = 5e-5, 0.005
# From here on nobody wants digits after the point, nor from this to all.
WHOLE_FROM, WHOLE_TO, SMALL = 9.95, 99, 0.1
WHOLE_USD = 19.995


def sentence(answer: Answer) -> str:
    """With one more engine, and with a longer promise; or with fewer where nothing spills."""
    now, name = answer.now, "each promise" if "each" in answer.word else "a promise"
    if now.spilled_share < LEAST_SHARE:
        return _unspilled(answer)
    more, longer = answer.cases[ONE_MORE], answer.cases[LONGER]
    times = "half as long again" if "each" in answer.word else f"of {longer.ttft_s:g} s instead of {now.ttft_s:g} s"
    said = (
        f"With one more {answer.word} you would have spilled {percent(more.spilled_share)} instead of "
        f"{percent(now.spilled_share)} and {_saved(answer, more)}; with {name} {times}, "
        f"{percent(longer.spilled_share)} and {_saved(answer, longer)}."
    )
    return said if now.is_kept else f"{said} {_broken(answer, more)}"


def _unspilled(answer: Answer) -> str:
    less, one = answer.cases[ONE_LESS], "one fewer" if answer.now.engines > 1 else "none"
    loss_usd = -answer.saved_usd(less)
    if loss_usd < LEAST_USD:
        end = f"and with {one} neither"
    else:
        end = f"with {one} you would have spilled {percent(less.spilled_share)} and paid {usd(loss_usd)} a month"
    broken = "" if answer.now.is_kept else f" {_broken(answer, answer.cases[ONE_MORE])}"
    return f"Nothing spilled, so one more {answer.word} would have saved nothing; {end}.{broken}"


def _broken(answer: Answer, more: Reckoned) -> str:
    """The promise comes before the bill."""
    kept = f"The promise was kept for {percent(answer.now.kept_share)} only, not {answer.share * 100:.4g} %"
    return f"{kept}; with one more it would have been kept." if more.is_kept else f"{kept}."


def _saved(answer: Answer, each: Reckoned) -> str:
    saved_usd = answer.saved_usd(each)
    if abs(saved_usd) < LEAST_USD:
        return "saved nothing"
    return f"saved {usd(saved_usd)} a month" if saved_usd > 0 else f"paid {usd(-saved_usd)} more a month"


def percent(share: float) -> str:
    """`19 %`, `2.4 %`, `0.03 %`, `nothing`; what is nearly all is not called all."""
    value = share * 100
    if share < LEAST_SHARE:
        return "nothing"
    if value >= WHOLE_FROM and (value < WHOLE_TO or share >= 1):
        return f"{value:.0f} %"
    if value >= WHOLE_TO:
        return f"{math.floor(value * 10) / 10:.1f} %"
    return f"{value:.1f} %" if value >= SMALL else f"{digits(float(f'{value:.1g}'))} %"


def usd(value: float) -> str:
    """`$412`, `$3.20`, `$0.04`."""
    if value == 0:
        return "$0"
    return f"${value:,.0f}" if abs(value) >= WHOLE_USD else f"${value:,.2f}"
