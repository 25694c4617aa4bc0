"""What a document comes to, in at most ten sentences that a person who has read nothing else understands. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from statistics import fmean

from benchmarks.report.document import Costs, Document, Figure, Run
from benchmarks.report.quantity import counted, dollars, listed, number, seconds, seconds_within, share
from benchmarks.report.subject import curve_of, is_curve, keeps, knee_of, limits_in, offered, principal, share_in

MOST_SENTENCES = 10
# How figures are called in a sentence.
WORDS = {
    "ttft_s": "time to first token",
    "tpot_s": "time per token",
    "itl_s": "gap between tokens",
    "e2e_s": "time to the whole answer",
}
BREACH = re.compile(r"is ([\d.e+-]+), promised ([\d.e+-]+)")
# A KV cache this full makes the engine evict or wait.
FULL = 0.95


def verdict_of(document: Document) -> list[str]:
    """The most important first. A run that counts for nothing says so before any figure."""
    run = principal(document)
    if run is None:
        return ["Nothing was measured: no run ended."]
    others = _side_by_side(document)
    details = [sentence for part in PARTS for sentence in part(run)]
    if others and details:
        details[0] = f"{_capital(run.name)}: {details[0][:1].lower()}{details[0][1:]}"
    return [*_reservations(document, run), *_knee(document), *_users(document), *others, *details][:MOST_SENTENCES]


def _reservations(document: Document, run: Run) -> list[str]:
    found = [f"NOT VALID: {reason.rstrip('.')}." for reason in run.invalid]
    if document.interrupted:
        found.append("Stopped early: the figures cover what was measured until then.")
    return found


def _knee(document: Document) -> list[str]:
    if not is_curve(document):
        return []
    knee = knee_of(document)
    if knee is None:
        kept = [keeps(run) for run in curve_of(document)]
        return ["The promise is broken even by the smallest load that was tried."] if kept and not any(kept) else []
    above = [run for run in curve_of(document) if _is_broken(run) and offered(run).load > knee.load]
    broken = min(above, key=lambda run: offered(run).load, default=None)
    if broken is None:
        return [f"The promise is kept up to {knee}, the highest load that was tried."]
    why = "; ".join(spoken(reason) for reason in broken.summary.promise_broken)
    return [f"The promise is kept up to {knee}; at {offered(broken)} {why}."]


def _users(document: Document) -> list[str]:
    """What the runs beside the curve of a bench show: the speed of one reader, and the most of all together."""
    curve = curve_of(document) if is_curve(document) else document.runs
    beside = [run for run in document.runs if run not in curve]
    said = [f"{offered(run)} get {number(run.summary.output_tokens_per_s)} tokens/s" for run in beside]
    return [f"Without a pause between requests: {', '.join(said)}."] if said else []


def _is_broken(run: Run) -> bool:
    return keeps(run) is False and not run.invalid


def _side_by_side(document: Document) -> list[str]:
    """Where the runs are settings rather than loads: one sentence of all."""
    if is_curve(document) or len(document.runs) <= 1:
        return []
    return [_capital("; ".join(f"{each.name} {_standing(each)}" for each in document.runs)) + "."]


def _standing(run: Run) -> str:
    kept = {
        True: "keeps the promise",
        False: "breaks the promise",
        None: f"ends {number(run.summary.requests_per_s)}/s",
    }
    spent = run.costs.cloud_usd
    return kept[keeps(run)] + ("" if spent is None else f" for {dollars(spent)} of cloud")


def _throughput(run: Run) -> list[str]:
    summary = run.summary
    made = (
        f"At {offered(run)}: {number(summary.requests_per_s)} answers/s, {number(summary.output_tokens_per_s)} tokens/s"
        f" out and {number(summary.input_tokens_per_s)} in, {number(summary.mean_concurrency)} requests at a time."
    )
    return [made]


def _promise(run: Run) -> list[str]:
    summary = run.summary
    if not summary.promise:
        return []
    if summary.promise_broken:
        broken = "; ".join(spoken(reason) for reason in summary.promise_broken)
        return [f"The promise is broken: {broken}.{_met(run)}"]
    limits = ", ".join(
        f"{WORDS.get(name, name)} {share_in(summary.promise)} within {seconds(limit_s)}"
        for name, limit_s in limits_in(summary.promise).items()
    )
    return [f"The promise is kept: {limits}, no errors."]


def _met(run: Run) -> str:
    goodput_per_s, all_per_s = run.summary.goodput_per_s, run.summary.requests_per_s
    if goodput_per_s is None or goodput_per_s >= all_per_s:
        return ""
    return f" Only {share(goodput_per_s / all_per_s)} of the answers met it."


def _latency(run: Run) -> list[str]:
    summary = run.summary
    found = []
    if summary.ttft_s:
        first = summary.ttft_s
        found.append(
            f"Half of the answers begin within {seconds(first.p50)}, 95 % within {_with_interval(first, 'p95')},"
            f" 99 % within {seconds(first.p99)}."
        )
    if summary.tpot_s and summary.tpot_s.p50 > 0:
        each = summary.tpot_s
        found.append(
            f"Then a token comes every {_with_interval(each, 'p50')}, {number(1 / each.p50)} tokens/s for each reader"
            f" (95 % within {seconds(each.p95)})."
        )
    if summary.e2e_s:
        found.append(
            f"A whole answer takes {seconds(summary.e2e_s.p50)}, 95 % take at most {seconds(summary.e2e_s.p95)}."
        )
    return found


def _with_interval(figure: Figure, statistic: str) -> str:
    return seconds_within(getattr(figure, statistic), figure.low.get(statistic), figure.high.get(statistic))


def _errors(run: Run) -> list[str]:
    summary = run.summary
    whole = counted(summary.requests, "request")
    if summary.errors:
        return [f"{summary.errors:,} of {whole} failed: {listed(dict(summary.errors_by_kind)) or 'no kind is known'}."]
    mismatched = f", but {summary.token_mismatches:,} differ in their token count" if summary.token_mismatches else ""
    return [f"All {whole} were answered completely{mismatched}."]


def _spill(run: Run) -> list[str]:
    spilled = run.summary.spill_share
    if spilled is None:
        return []
    if not spilled:
        return ["Nothing went to the cloud."]
    reasons = {name: count for name, count in run.summary.reasons.items() if name.startswith("spill")}
    return [f"{share(spilled)} of the requests went to the cloud{': ' + listed(reasons) if reasons else ''}."]


def _money(run: Run) -> list[str]:
    costs = run.costs
    parts = []
    if costs.cloud_usd or (costs.cloud_usd == 0 and costs.all_cloud_usd):
        instead = "" if costs.all_cloud_usd is None else f" (all in the cloud: {dollars(costs.all_cloud_usd)})"
        parts.append(f"{dollars(costs.cloud_usd)} spent in the cloud{instead}")
    if costs.local_usd_per_mtok is not None:
        there = cloud_usd_per_mtok(costs)
        against = "" if there is None else f" against {dollars(there)} in the cloud"
        parts.append(f"a million tokens cost {dollars(costs.local_usd_per_mtok)} here{against}")
    if costs.joules_per_token is not None:
        parts.append(f"{number(costs.joules_per_token)} J a token")
    return [_capital("; ".join(parts)) + "."] if parts else []


def cloud_usd_per_mtok(costs: Costs) -> float | None:
    """Of what went to the cloud; where nothing did, of the same tokens at its price."""
    here_usd = (costs.energy_usd or 0.0) + (costs.hardware_usd or 0.0)
    if costs.cloud_usd_per_mtok is not None or not (costs.all_cloud_usd and costs.local_usd_per_mtok and here_usd):
        return costs.cloud_usd_per_mtok
    return costs.local_usd_per_mtok * costs.all_cloud_usd / here_usd


def _engine(run: Run) -> list[str]:
    kv = [moment.kv_used for moment in run.timeline if moment.kv_used is not None]
    waiting = [moment.waiting for moment in run.timeline if moment.waiting is not None]
    power = [moment.gpu_power_w for moment in run.timeline if moment.gpu_power_w is not None]
    parts = []
    if kv:
        parts.append(f"the KV cache was {share(max(kv))} full at most{' (no room left)' if max(kv) >= FULL else ''}")
    if waiting:
        parts.append(
            f"up to {counted(max(waiting), 'request')} waited in the engine" if max(waiting) else "nobody waited"
        )
    if power:
        parts.append(f"the GPUs drew {number(fmean(power))} W")
    return [_capital(", ".join(parts)) + "."] if parts else []


def _notes(run: Run) -> list[str]:
    return [f"Note: {note.rstrip('.')}." for note in run.notes]


def _generator(run: Run) -> list[str]:
    lag = run.summary.lag_s
    return (
        [f"The generator was on time: 99 % of the requests left within {seconds(lag.p99)} of when they were due."]
        if (lag and not run.invalid)
        else []
    )


PARTS: tuple[Callable[[Run], list[str]], ...] = (
    _promise,
    _throughput,
    _latency,
    _errors,
    _spill,
    _money,
    _notes,
    _engine,
    _generator,
)


def spoken(reason: str) -> str:
    """A broken promise in words and units instead of names of variables: `p95 time to first token is 5.49 s ...`."""
    for name, word in WORDS.items():
        reason = reason.replace(name, word)
    return BREACH.sub(lambda found: f"is {seconds(float(found[1]))}, promised {seconds(float(found[2]))}", reason)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
