"""The ten sentences: what they say, in which order, and what they never leave out."""

from __future__ import annotations

import msgspec

from benchmarks.report.document import Costs, Document, Moment
from benchmarks.report.verdict import MOST_SENTENCES, verdict_of
from tests.measured import Server, hybrid_document, load_document, origin, sweep_document


def changed(document: Document, **fields: object) -> Document:
    """With other fields in its first run."""
    run = msgspec.structs.replace(document.runs[0], **fields)
    return msgspec.structs.replace(document, runs=[run], summary=run.summary)


def said(document: Document) -> str:
    return "\n".join(verdict_of(document))


def test_a_kept_promise_comes_first_with_its_limits() -> None:
    document, _ = load_document(rate=3.0)
    first = verdict_of(document)[0]
    assert first == (
        "The promise is kept: time to first token p95 within 2 s, time per token p95 within 100 ms, no errors."
    )


def test_a_broken_promise_says_what_broke_it_in_words_and_units() -> None:
    document, _ = load_document(rate=9.0)
    first = verdict_of(document)[0]
    assert first.startswith("The promise is broken: p95 time to first token is ")
    assert " s, promised 2 s." in first
    assert "ttft_s" not in first


def test_errors_are_told_by_kind() -> None:
    document, _ = load_document(rate=4.0, server=Server(fails=0.1))
    failed = document.runs[0].summary.errors
    assert failed > 3
    assert f"{failed} of {document.runs[0].summary.requests} requests failed: status_5xx {failed}." in said(document)


def test_complete_answers_are_said_to_be_complete() -> None:
    document, _ = load_document()
    assert f"All {document.runs[0].summary.requests} requests were answered completely." in verdict_of(document)


def test_a_run_that_counts_for_nothing_says_so_before_any_figure() -> None:
    document, _ = load_document()
    sentences = verdict_of(changed(document, invalid=["the generator was late: p99 lag 40 ms"]))
    assert sentences[0] == "NOT VALID: the generator was late: p99 lag 40 ms."
    assert "was on time" not in "\n".join(sentences)


def test_an_interrupted_run_says_so() -> None:
    document, _ = load_document()
    assert verdict_of(msgspec.structs.replace(document, interrupted=True))[0].startswith("Stopped early")


def test_a_sweep_begins_with_the_highest_load_and_what_breaks_above_it() -> None:
    document, _ = sweep_document()
    assert document.knee is not None
    first = verdict_of(document)[0]
    assert first.startswith(f"The promise is kept up to {document.knee['load']:g} requests/s; at 6 requests/s p95 time")


def test_a_sweep_that_never_broke_says_that_it_did_not_look_higher() -> None:
    document, _ = sweep_document()
    kept = [run for run in document.runs if not run.summary.promise_broken]
    document = msgspec.structs.replace(document, runs=kept)
    assert verdict_of(document)[0].endswith("the highest load that was tried.")


def test_a_sweep_without_any_good_load_says_that() -> None:
    document, _ = sweep_document()
    broken = [run for run in document.runs if run.summary.promise_broken]
    document = msgspec.structs.replace(document, runs=broken, summary=None, knee=None)
    assert verdict_of(document)[0] == "The promise is broken even by the smallest load that was tried."


def test_settings_are_set_side_by_side() -> None:
    document, _ = hybrid_document()
    first = verdict_of(document)[0]
    assert first.startswith("Local only breaks the promise; all cloud keeps the promise; hybrid breaks")
    assert " of cloud." in first


def test_spill_and_dollars_are_told_where_there_are_any() -> None:
    text = said(hybrid_document()[0])
    assert "of the requests went to the cloud: spill:queue" in text
    assert "a million tokens cost $0.21 here against $1.10 in the cloud" in text
    assert "of the requests went to the cloud" not in said(load_document()[0])


def test_a_full_cache_and_a_queue_are_told() -> None:
    document, _ = load_document()
    full = changed(
        document, timeline=[Moment(at_s=0.0, kv_used=0.99, waiting=7), Moment(at_s=1.0, kv_used=0.5, waiting=1)]
    )
    assert "The KV cache was 99 % full at most (no room left), up to 7 requests waited in the engine." in said(full)


def test_it_is_never_longer_than_ten_lines() -> None:
    for document in (load_document()[0], sweep_document()[0], hybrid_document()[0]):
        assert 5 <= len(verdict_of(document)) <= MOST_SENTENCES


def test_nothing_measured_is_said_plainly() -> None:
    assert verdict_of(Document(verb="load", title="", origin=origin(), runs=[])) == [
        "Nothing was measured: no run ended."
    ]


def test_a_run_that_is_not_valid_does_not_say_what_breaks_the_promise() -> None:
    document, _ = sweep_document()
    runs = [
        msgspec.structs.replace(run, invalid=["the generator was late"]) if run.name == "rate 6" else run
        for run in document.runs
    ]
    assert "at 7 requests/s" in verdict_of(msgspec.structs.replace(document, runs=runs))[0]


def test_tokens_that_come_all_at_once_have_no_speed_of_their_own() -> None:
    document, _ = load_document()
    summary = document.runs[0].summary
    assert summary.tpot_s is not None
    at_once = msgspec.structs.replace(summary, tpot_s=msgspec.structs.replace(summary.tpot_s, p50=0.0))
    assert "for each reader" in said(document)
    assert "for each reader" not in said(changed(document, summary=at_once))


def test_a_bench_tells_the_knee_of_its_search_beside_the_runs_of_users() -> None:
    document, _ = sweep_document()
    users = msgspec.structs.replace(document.runs[-1], name="64 users", load={"users": 64})
    bench = msgspec.structs.replace(document, verb="bench", runs=[users, *document.runs])
    first, second = verdict_of(bench)[:2]
    assert first == verdict_of(document)[0]
    assert second.startswith("Without a pause between requests: 64 users get ")


def test_a_million_tokens_here_are_set_against_the_same_tokens_in_the_cloud() -> None:
    document, _ = load_document()
    # 0.2 M tokens for $1 of hardware, which a cloud would have answered for $3.
    costs = Costs(hardware_usd=1.0, local_usd_per_mtok=5.0, all_cloud_usd=3.0)
    assert "A million tokens cost $5.00 here against $15.00 in the cloud" in said(changed(document, costs=costs))
