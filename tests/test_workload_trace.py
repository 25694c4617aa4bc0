"""Traces of each form become shapes; every wrong row is named by file, line and column, with what to do."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.workload.shape import Segment, Shape
from benchmarks.workload.trace import Sampling, TraceKind, cut, spread, trace_in

OWN = "at_s,input_tokens,output_tokens\n"


def found(tmp_path: Path, text: str, name: str = "trace.csv", kind: TraceKind = TraceKind.AUTO) -> list[Shape]:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return list(trace_in(path, kind))


@pytest.mark.parametrize("name", ["trace.csv", "trace.csv.gz"])
def test_azure_has_arrivals_and_lengths(tmp_path: Path, name: str) -> None:
    text = "arrival_s,input_tokens,output_tokens\n2.5,374,44\n6.8,396,109\n"
    assert found(tmp_path, text, name) == [Shape(0.0, 374, 44), Shape(6.8 - 2.5, 396, 109)]


def test_azure_as_it_is_published_has_dates(tmp_path: Path) -> None:
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 23:59:59.6805900,10,2\n2023-11-17 00:00:01.1805900,20,3\n"
    )
    first, second = found(tmp_path, text, kind=TraceKind.AZURE)
    assert first.at_s == 0.0
    assert second.at_s == pytest.approx(1.5)
    assert (second.input_tokens, second.output_tokens) == (20, 3)


def test_mooncake_shares_its_blocks(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 3000, "input_length": 1000, "output_length": 5, "hash_ids": [0, 1]},
        {"timestamp": 4500, "input_length": 600, "output_length": 6, "hash_ids": [0, 2]},
    ]
    first, second = found(tmp_path, "\n".join(json.dumps(row) for row in rows), "trace.jsonl")
    assert (first.at_s, second.at_s) == (0.0, 1.5)
    assert first.segments == (Segment("block 0", 512), Segment("block 1", 512))
    assert first.segments[0] == second.segments[0] != second.segments[1]


def test_servegen_names_tenants(tmp_path: Path) -> None:
    text = "arrival_s,client,input_tokens,output_tokens\n1,16,173,10\n1,7,398,18\n"
    assert [shape.tenant for shape in found(tmp_path, text)] == ["16", "7"]


def test_an_own_trace_may_say_all_of_a_request(tmp_path: Path) -> None:
    row = {"timestamp_ms": 500, "input_tokens": 9, "output_tokens": 4, "tier": "bulk", "task": "code", "tenant": "a"}
    row |= {"prompt": "What now?", "prefix_id": "p", "prefix_tokens": 6}
    (shape,) = found(tmp_path, json.dumps(row), "trace.jsonl")
    assert shape == Shape(0.0, 9, 4, (Segment("p", 6),), tier="bulk", task="code", tenant="a", text="What now?")


SESSIONS = """session,branch,t_s,model,input_tokens,output_tokens,prefix_hit_tokens
1,main,0,m,100,5,0
1,main,4,m,150,5,96
1,main/sub1,5,m,70,5,0
1,main,9,m,200,5,128
2,main,0,m,100,5,0
"""


def test_agentic_sessions_say_again_what_was_said_on_their_branch(tmp_path: Path) -> None:
    shapes = [shape for shape in found(tmp_path, SESSIONS) if shape.tenant == "session-1"]
    first, second, other, third = (shape.segments for shape in shapes)
    assert [shape.input_tokens for shape in shapes] == [100, 150, 70, 200]
    assert all(sum(segment.tokens for segment in shape.segments) == shape.input_tokens for shape in shapes)
    begun = shapes[0].at_s
    assert [shape.at_s - begun for shape in shapes] == pytest.approx([0, 4, 5, 9])
    (said,) = first
    assert second[0] == Segment(said.key, 96)
    assert third[:2] == (second[0], Segment(second[1].key, 32))
    assert not {segment.key for segment in other} & {segment.key for segment in third}


def test_sessions_begin_as_often_as_asked(tmp_path: Path) -> None:
    rows = "".join(f"{number},main,0,m,10,5,0\n" for number in range(500))
    path = tmp_path / "trace.csv"
    path.write_text(SESSIONS.splitlines()[0] + "\n" + rows)
    shapes = list(trace_in(path, sampling=Sampling(sessions_per_h=3600.0)))
    assert shapes[-1].at_s == pytest.approx(500, rel=0.15)


def test_a_table_of_rates_becomes_arrivals_that_follow_it(tmp_path: Path) -> None:
    text = "pool,slot_start_s,req_per_s\nsmall,0,20\nsmall,100,0\nsmall,200,80\nlarge,0,500\n"
    path = tmp_path / "trace.csv"
    path.write_text(text)
    moments = [shape.at_s for shape in trace_in(path, sampling=Sampling(keep=0.5))]
    by_slot = [sum(start <= at_s < start + 100 for at_s in moments) for start in (0, 100, 200)]
    assert by_slot[0] == pytest.approx(1000, rel=0.1)
    assert by_slot[1] < 10
    assert by_slot[2] == pytest.approx(4000, rel=0.1)
    assert max(moments) < 300


def test_a_share_of_a_trace_keeps_its_time(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(OWN + "".join(f"{number},1,1\n" for number in range(2000)))
    shapes = list(trace_in(path, sampling=Sampling(keep=0.25, seed=3)))
    assert len(shapes) == pytest.approx(500, rel=0.15)
    assert shapes == list(trace_in(path, sampling=Sampling(keep=0.25, seed=3)))
    assert shapes[-1].at_s > 1950


def test_empty_requests_of_a_log_ask_for_one_token(tmp_path: Path) -> None:
    (shape,) = found(tmp_path, OWN + "0,0,0\n")
    assert (shape.input_tokens, shape.output_tokens) == (1, 1)


def test_a_cut_begins_at_zero_and_ends_with_the_run() -> None:
    shapes = [Shape(float(at_s), 1) for at_s in range(10)]
    assert [shape.at_s for shape in cut(shapes, start_s=4, scale=2, limit_s=2)] == [0.0, 0.5, 1.0, 1.5]
    assert len(list(cut(shapes, start_s=0, scale=1, limit_s=None))) == 10


def test_moments_of_a_rounded_clock_are_spread_in_order() -> None:
    shapes = [Shape(at_s, 1) for at_s in [0.0] * 100 + [3.0] * 100]
    moments = [shape.at_s for shape in spread(shapes, 3.0, Random(1))]
    assert moments == sorted(moments)
    assert len(set(moments)) == 200
    assert 1.3 < sum(moments[:100]) / 100 < 1.7
    assert moments[99] < 3.0 <= moments[100] < moments[199] < 6.0


WRONG = {
    "empty": ("", r"trace\.csv: there is no request"),
    "header alone": (OWN, r"trace\.csv: there is no request"),
    "no time": ("input_tokens,output_tokens\n1,2\n", r"line 2: no column at_s .*input_tokens, output_tokens"),
    "no input": ("at_s,output_tokens\n1,2\n", "no column input_tokens"),
    "no output": ("at_s,input_tokens\n1,2\n", "no column output_tokens"),
    "unsorted": (OWN + "0,1,1\n5,1,1\n4,1,1\n", r"line 4: it comes before the line above it; sort trace\.csv"),
    "before time": (OWN + "-1,1,1\n", "line 2: column at_s is -1, below 0"),
    "negative": (OWN + "0,1,1\n1,-7,1\n", "line 3: column input_tokens is -7, below 0"),
    "not a number": (OWN + "0,1,1\n1,7,lots\n", "line 3: column output_tokens must be a number, not 'lots'"),
    "no such length": (OWN + "0,1e300,1\n", "which nothing takes"),
    "nan": (OWN + "nan,1,1\n", "line 2: column at_s must be a number"),
    "short row": (OWN + "0,1,1\n1,7\n", "line 3: 2 values for the 3 columns"),
    "prefix": (
        "at_s,input_tokens,output_tokens,prefix_id\n0,1,1,p\n",
        "line 2: prefix_id needs a column prefix_tokens",
    ),
    "session": ("session,t_s,input_tokens,output_tokens,prefix_hit_tokens\n1,0,1,1,0\n", "no column branch"),
    "slots": ("pool,slot_start_s,req_per_s\na,600,1\na,0,1\n", "line 3: its slot begins before"),
    "dates": ("TIMESTAMP,ContextTokens,GeneratedTokens\nnoon,1,1\n", "line 2: column TIMESTAMP must be a date"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_table_gets_a_sentence(tmp_path: Path, name: str) -> None:
    text, said = WRONG[name]
    with pytest.raises(ValueError, match=said):
        found(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1: not JSON"),
        ("[1]", "line 1: not an object"),
        ('{"at_s": true, "input_tokens": 1, "output_tokens": 1}', "at_s must be a number, not True"),
        ('{"at_s": 0, "input_tokens": null, "output_tokens": 1}', "input_tokens must be a number, not None"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": 5}', "hash_ids must be a list"),
    ],
)
def test_wrong_lines_get_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        found(tmp_path, text, "trace.jsonl")


def read_or_said(path: Path) -> list[Shape] | str:
    try:
        return list(trace_in(path))
    except ValueError as error:
        return str(error)


CELLS = st.one_of(st.floats(0, 1e9).map(str), st.floats().map(str), st.integers().map(str), st.text(max_size=8))


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=3))
def test_whatever_stands_in_a_table_it_is_read_or_a_sentence_says_why_not(rows: list[list[str]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.csv"
        with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
            csv.writer(file).writerows([OWN.strip().split(","), *rows])
        found = read_or_said(path)
        assert str(path) in found if isinstance(found, str) else len(found) == len(rows)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(time=JSON, tokens=JSON, blocks=JSON, prefix=JSON)
def test_whatever_stands_in_a_line_it_is_read_or_a_sentence_says_why_not(
    time: object, tokens: object, blocks: object, prefix: object
) -> None:
    row = {"timestamp": time, "input_length": tokens, "output_length": 1, "prefix_id": prefix, "prefix_tokens": tokens}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.jsonl"
        for line in (row, row | {"hash_ids": blocks}):
            path.write_text(json.dumps(line))
            found = read_or_said(path)
            assert str(path) in found if isinstance(found, str) else len(found) == 1


def test_a_trace_of_another_kind_than_told_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no column hash_ids, which a mooncake trace has"):
        found(tmp_path, OWN + "0,1,1\n", kind=TraceKind.MOONCAKE)


def test_files_that_are_not_what_their_name_says_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"name it \.csv"):
        found(tmp_path, OWN, "trace.parquet")
    path = tmp_path / "torn.csv.gz"
    path.write_bytes(gzip.compress(OWN.encode() * 100)[:-20])
    with pytest.raises(ValueError, match=r"torn\.csv\.gz cannot be read"):
        list(trace_in(path))
    path.write_bytes(b"plain text")
    with pytest.raises(ValueError, match=r"torn\.csv\.gz cannot be read"):
        list(trace_in(path))
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"binary\.csv cannot be read"):
        list(trace_in(binary))
