"""From the command line to arrivals: what each option comes to, and the sentence that a wrong one gets."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from statistics import correlation

import pytest

from benchmarks.workload.arrival import Arrival, Kind
from benchmarks.workload.workload import Spec, add_arguments, arrivals_of, described, spec_in
from tests import vocabularies


def spec(*arguments: str) -> Spec:
    parser = ArgumentParser()
    add_arguments(parser)
    return spec_in(parser.parse_args([*arguments]))


def some(arrivals: Iterator[Arrival], count: int = 50) -> list[Arrival]:
    return list(islice(arrivals, count))


def words(arrival: Arrival) -> list[str]:
    assert isinstance(arrival.prompt.content, str)
    return arrival.prompt.content.split()


def written(tmp_path: Path, *rows: Mapping[str, object]) -> str:
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_without_options_users_ask_in_a_closed_loop_for_half_a_minute() -> None:
    found = spec()
    assert (found.open, found.users, found.duration_s) == (False, 8, 30.0)
    assert {arrival.at_s for arrival in some(arrivals_of(found), 1000)} == {0.0}


def test_a_rate_is_an_open_loop_that_ends_with_the_run() -> None:
    found = list(arrivals_of(spec("--rate", "20", "--duration", "1m", "--input-tokens", "4")))
    assert len(found) == pytest.approx(1200, rel=0.1)
    assert all(earlier.at_s <= later.at_s for earlier, later in pairwise(found))
    assert 55 < found[-1].at_s < 60


def test_a_count_of_requests_ends_it_and_then_no_time_does() -> None:
    found = spec("--rate", "0.1", "--requests", "40", "--input-tokens", "4")
    assert found.duration_s is None
    assert len(list(arrivals_of(found))) == 40
    assert len(list(arrivals_of(spec("--users", "2", "--requests", "3")))) == 3


def test_arrivals_say_what_was_asked_for() -> None:
    arrival = next(
        arrivals_of(spec("--kind", "completion", "--no-stream", "--output-tokens", "7", "--mix", "tier=bulk"))
    )
    assert (arrival.kind, arrival.stream, arrival.output_tokens, arrival.tier) == (Kind.COMPLETION, False, 7, "bulk")
    assert next(arrivals_of(spec("--output-tokens", "model"))).output_tokens is None
    embedding = next(arrivals_of(spec("--kind", "embedding")))
    assert (embedding.stream, embedding.output_tokens) == (False, None)


def test_lengths_without_a_tokenizer_are_words_and_no_count_is_claimed() -> None:
    found = spec("--input-tokens", "uniform:3-9")
    assert {len(words(arrival)) for arrival in some(arrivals_of(found), 200)} == set(range(3, 10))
    assert next(arrivals_of(found)).prompt.tokens is None
    assert described(found)["exact_lengths"] is False


def test_prompts_share_the_prefixes_that_they_are_to_share() -> None:
    found = some(arrivals_of(spec("--input-tokens", "30", "--shared-prefix", "20:3")), 200)
    assert len({tuple(words(arrival)[:20]) for arrival in found}) == 3
    assert len({tuple(words(arrival)) for arrival in found}) == 200


def test_the_seed_decides_when_and_how_long_and_another_length_moves_no_arrival() -> None:
    common = ("--rate", "5", "--duration", "20")
    first = [
        (arrival.at_s, len(words(arrival))) for arrival in arrivals_of(spec(*common, "--input-tokens", "normal:9,3"))
    ]
    again = [
        (arrival.at_s, len(words(arrival))) for arrival in arrivals_of(spec(*common, "--input-tokens", "normal:9,3"))
    ]
    longer = [arrival.at_s for arrival in arrivals_of(spec(*common, "--input-tokens", "50"))]
    other = [arrival.at_s for arrival in arrivals_of(spec(*common, "--seed", "2"))]
    assert first == again
    assert [at_s for at_s, _ in first] == longer != other


def test_how_long_a_request_is_has_nothing_to_do_with_when_it_comes() -> None:
    found = list(arrivals_of(spec("--rate", "50", "--requests", "2000", "--input-tokens", "exponential:40")))
    gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(found)]
    lengths = [float(len(words(arrival))) for arrival in found]
    assert abs(correlation(gaps, lengths[1:])) < 0.1
    assert abs(correlation(gaps, lengths[:-1])) < 0.1


def test_every_run_asks_with_other_words_unless_told() -> None:
    assert words(next(arrivals_of(spec()))) != words(next(arrivals_of(spec())))
    told = spec("--prompt-seed", "5")
    assert words(next(arrivals_of(told))) == words(next(arrivals_of(told)))
    assert words(next(arrivals_of(told))) != words(next(arrivals_of(told, run=1)))
    assert words(next(arrivals_of(told, run=1))) == words(next(arrivals_of(told, run=1)))


def test_prompts_of_a_file_leave_room_for_the_answer_or_are_left_out(tmp_path: Path) -> None:
    folder = str(vocabularies.folder_of(vocabularies.byte_level(), tmp_path / "model"))
    (tmp_path / "prompts.txt").write_text("\n".join(["about " * 9, "about " * 25, "about " * 90]))
    common = ("--prompts", str(tmp_path / "prompts.txt"), "--tokenizer", folder, "--kind", "completion")
    found = some(arrivals_of(spec(*common, "--context", "40", "--output-tokens", "20")), 10)
    sizes = {(arrival.prompt.tokens, arrival.output_tokens) for arrival in found}
    assert len(sizes) == 2
    assert all(prompt + output <= 40 for prompt, output in sizes if prompt and output)
    assert max(output for _, output in sizes if output) == 20
    with pytest.raises(ValueError, match="every prompt in it is longer than the 4 tokens"):
        arrivals_of(spec(*common, "--context", "5"))


@pytest.mark.parametrize("seed", ["0", "-7", str(2**40)])
def test_any_whole_number_is_a_run_and_a_seed(seed: str) -> None:
    told = spec("--prompt-seed", seed, "--shared-prefix", "20:3", "--seed", seed)
    made = [tuple(words(next(arrivals_of(told, run)))) for run in (-2, -1, 0, 1, 2**33 + 5)]
    assert len(set(made)) == len(made)


def test_a_load_derived_from_another_may_leave_the_rate(tmp_path: Path) -> None:
    bursty = spec("--rate", "4", "--burstiness", "0.5")
    assert replace(bursty, rate=None, users=3).name == "3 users"


def test_a_description_names_no_folder_and_is_plain_json(tmp_path: Path) -> None:
    path = written(tmp_path, {"at_s": 0, "input_tokens": 3, "output_tokens": 4})
    found = json.dumps(described(spec("--trace", path, "--scale", "2")))
    assert str(tmp_path) not in found
    assert json.loads(found)["trace"] == "trace.jsonl"
    assert json.loads(found)["output_tokens"] == "trace, else 128"


def test_a_load_has_a_name() -> None:
    assert spec("--rate", "4").name == "rate 4"
    assert spec("--users", "1").name == "1 user"
    assert replace(spec("--users", "1"), users=16).name == "16 users"


def test_a_trace_runs_whole_and_as_fast_as_it_is_scaled(tmp_path: Path) -> None:
    rows = [{"at_s": 10 + number, "input_tokens": number + 1, "output_tokens": 5} for number in range(10)]
    path = written(tmp_path, *rows)
    assert [arrival.at_s for arrival in arrivals_of(spec("--trace", path))] == [float(each) for each in range(10)]
    twice = list(arrivals_of(spec("--trace", path, "--scale", "2", "--duration", "3", "--trace-start", "2s")))
    assert [arrival.at_s for arrival in twice] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert [len(words(arrival)) for arrival in twice] == [3, 4, 5, 6, 7, 8]


def test_a_trace_without_lengths_takes_those_of_the_options(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("pool,slot_start_s,req_per_s\na,0,5\na,10,5\n")
    found = list(arrivals_of(spec("--trace", str(path), "--input-tokens", "7", "--output-tokens", "3")))
    assert len(found) > 50
    assert {(len(words(arrival)), arrival.output_tokens) for arrival in found} == {(7, 3)}


def test_users_go_round_a_trace(tmp_path: Path) -> None:
    path = written(tmp_path, *({"at_s": each, "input_tokens": each, "output_tokens": 5} for each in (2, 40)))
    found = some(arrivals_of(spec("--trace", path, "--users", "3", "--duration", "5")), 5)
    assert [len(words(arrival)) for arrival in found] == [2, 40, 2, 40, 2]
    assert {arrival.at_s for arrival in found} == {0.0}


def test_a_trace_brings_the_times_and_a_file_the_prompts(tmp_path: Path) -> None:
    path = written(tmp_path, {"at_s": 0, "input_tokens": 2, "output_tokens": 5})
    (tmp_path / "prompts.txt").write_text("What is the time?\n")
    (arrival,) = arrivals_of(spec("--trace", path, "--prompts", str(tmp_path / "prompts.txt")))
    assert (arrival.prompt.content, arrival.output_tokens) == ("What is the time?", 5)


def test_a_trace_that_shares_nothing_may_be_given_a_shared_prefix(tmp_path: Path) -> None:
    path = written(tmp_path, *({"at_s": 0, "input_tokens": 30, "output_tokens": 5} for _ in range(40)))
    found = list(arrivals_of(spec("--trace", path, "--shared-prefix", "20:2")))
    assert len({tuple(words(arrival)[:20]) for arrival in found}) == 2
    assert len({tuple(words(arrival)) for arrival in found}) == 40


def test_requests_longer_than_the_context_are_cut(tmp_path: Path) -> None:
    rows = [{"at_s": 0, "input_tokens": each, "output_tokens": 5} for each in (3, 90, 95, 4000)]
    folder = str(vocabularies.folder_of(vocabularies.byte_level(), tmp_path / "model"))
    common = ("--trace", written(tmp_path, *rows), "--context", "98", "--kind", "completion")
    found = list(arrivals_of(spec(*common, "--tokenizer", folder)))
    assert [(arrival.prompt.tokens, arrival.output_tokens) for arrival in found] == [(3, 5), (90, 5), (93, 5), (93, 5)]
    # Words are only about as many as tokens: twice as many tokens fit still.
    assert [len(words(arrival)) for arrival in arrivals_of(spec(*common))] == [3, 46, 46, 46]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rate", "1", "--users", "1"], "exclude each other"),
        (["--rate", "1", "--trace", "x.csv"], "use --scale"),
        (["--rate", "0"], "--rate 0 must be above 0"),
        (["--rate", "nan"], "--rate nan must be above 0"),
        (["--users", "0"], "--users 0 must be above 0"),
        (["--users", "-3"], "--users -3 must be above 0"),
        (["--duration", "0"], "--duration 0 must be above 0"),
        (["--duration=-5s"], "--duration -5s must be above 0"),
        (["--duration", "soon"], "is no time"),
        (["--requests", "0"], "--requests 0 must be above 0"),
        (["--rate", "1", "--burstiness", "0"], "--burstiness 0 must be above 0"),
        (["--think-s=-1"], "--think-s"),
        (["--rate", "1", "--think-s", "1"], "--think-s is of --users"),
        (["--users", "1", "--burstiness", "2"], "--burstiness is of --rate"),
        (["--rate", "1", "--scale", "2"], "--scale is of a trace"),
        (["--trace-start", "9h"], "--trace-start is of a trace"),
        (["--trace", "x.csv", "--scale", "0"], "--scale 0 must be above 0"),
        (["--trace", "x.csv", "--keep", "0"], "--keep 0 must be above 0"),
        (["--trace", "x.csv", "--sessions-per-h", "0"], "--sessions-per-h 0 must be above 0"),
        (["--input-tokens", "lots"], "--input-tokens 'lots'"),
        (["--output-tokens", "0"], "--output-tokens '0'"),
        (["--shared-prefix", "512:0"], "--shared-prefix"),
        (["--context", "1"], "--context 1 must be above 1"),
        (["--mix", "tier=a:0.2"], "sum to 0.2"),
        (["--tokenizer", "server"], "no --url"),
    ],
)
def test_a_wrong_option_gets_a_sentence(arguments: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        spec(*arguments)


def test_what_cannot_be_made_is_said_before_the_first_request() -> None:
    with pytest.raises(ValueError, match="--token-ids needs --tokenizer"):
        arrivals_of(spec("--token-ids"))
    with pytest.raises(OSError, match=r"nowhere\.csv"):
        arrivals_of(spec("--trace", "nowhere.csv"))
    with pytest.raises(OSError, match=r"nowhere\.txt"):
        arrivals_of(spec("--prompts", "nowhere.txt"))
