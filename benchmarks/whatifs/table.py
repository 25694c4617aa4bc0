"""The answer in a terminal of 100 columns: values in, rich tables out. Pure."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from benchmarks.report.quantity import UNKNOWN
from benchmarks.whatifs.answer import Answer
from benchmarks.whatifs.case import NOW, Case
from benchmarks.whatifs.pool import MONTH_S, Actual
from benchmarks.whatifs.reckoned import Reckoned, keeps
from benchmarks.whatifs.sentence import usd

DAY_S, HOUR_S = 86_400.0, 3600.0
LEAST_USD = 0.005


def cases_table(answer: Answer) -> Table:
    """A line for each case, below what the ledger says; green keeps the promise, red breaks it."""
    made = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 1))
    made.add_column("")
    names = ("spilled\n%", "promise\nkept %", f"$ in\n{lasting(answer.period.lasts_s)}", "$ a\nmonth", "saved\na month")
    for name in names:
        made.add_column(name, justify="right", no_wrap=True)
    if answer.actual is not None:
        made.add_row("as the ledger has it", *_real(answer, answer.actual))
    for case, each in answer.cases.items():
        made.add_row(label(answer, case), *_cells(answer, case, each), style="bold" if case == NOW else None)
    return made


def label(answer: Answer, case: Case) -> str:
    """`now, simulated: 2 engines, 2 s`, `1 more: 3 engines`, `a promise of 3 s`."""
    each, is_sum = answer.cases[case], "each" in answer.word
    engines = "all cloud" if not each.engines else f"{each.engines} engine{'' if each.engines == 1 else 's'}"
    if case == NOW:
        return f"now, simulated: {engines}" + ("" if is_sum else f", {each.ttft_s:g} s")
    if case.more:
        many = abs(case.more)
        return f"{many} {'more' if case.more > 0 else 'fewer'}{' each' if is_sum else ''}: {engines}"
    return f"promises x {case.factor:g}" if is_sum else f"a promise of {each.ttft_s:g} s"


def lasting(lasts_s: float) -> str:
    """`7 days`, `3.5 h`."""
    if lasts_s >= 2 * DAY_S:
        return f"{lasts_s / DAY_S:.3g} days"
    return f"{lasts_s / HOUR_S:.3g} h" if lasts_s >= HOUR_S else f"{lasts_s / 60:.3g} min"


def _real(answer: Answer, actual: Actual) -> list[Text]:
    month_usd = actual.usd * MONTH_S / answer.period.lasts_s
    share = actual.kept_share
    kept = Text(UNKNOWN) if share is None else _kept(share, keeps(share, answer.share))
    return [Text(_share(actual.spilled_share)), kept, Text(usd(actual.usd)), Text(usd(month_usd)), Text("")]


def _cells(answer: Answer, case: Case, each: Reckoned) -> list[Text]:
    saved_usd = answer.saved_usd(each)
    saved = Text(
        usd(saved_usd) if saved_usd >= 0 else f"-{usd(-saved_usd)}", style="green" if saved_usd > LEAST_USD else ""
    )
    if case == NOW:
        saved = Text("")
    elif abs(saved_usd) < LEAST_USD:
        saved = Text("0", style="dim")
    return [
        Text(_share(each.spilled_share)),
        _kept(each.kept_share, each.is_kept),
        Text(usd(each.usd)),
        Text(usd(each.month_usd)),
        saved,
    ]


def _kept(share: float, is_kept: bool) -> Text:
    """Rounded down, so that what is shown as kept is kept."""
    return Text(f"{int(share * 1e3 + 1e-6) / 10:.1f}", style="green" if is_kept else "bold red")


def _share(share: float) -> str:
    return f"{share * 100:.1f}"
