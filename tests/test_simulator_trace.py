"""Traces as the simulator takes them, and at other rates."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.simulator.arrival import Arrival, arrivals_in, rate_of
from benchmarks.simulator.capacity import highest
from benchmarks.simulator.cloud_times import cloud_in
from benchmarks.simulator.scaling import Scaling, scaled
from benchmarks.workload.trace import Sampling
from tests.worlds import poisson


def test_tenants_and_lengths_are_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("arrival_s,client,input_tokens,output_tokens\n5.0,7,100,20\n5.5,8,200,0\n")
    assert arrivals_in(path) == [Arrival(0.0, 100, 20, "7"), Arrival(0.5, 200, 1, "8")]


def test_a_clock_of_three_seconds_is_spread_and_blocks_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    rows = [
        {"timestamp": at_ms, "input_length": 1100, "output_length": 5, "hash_ids": blocks}
        for at_ms, blocks in ((0, [0, 1, 2]), (0, [0, 3, 4]), (3000, [0, 1, 9]), (3000, [5]), (9000, [0]))
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = arrivals_in(path)
    moments = [each.at_s for each in found]
    assert moments == sorted(moments)
    assert len({*moments}) == 5
    assert all(tick_s <= at_s < tick_s + 3 for at_s, tick_s in zip(moments, (0, 0, 3, 3, 9), strict=True))
    # The third block of each is not whole: 1,100 tokens are two blocks and a rest.
    assert {len(each.prefix) for each in found[:2]} == {2}
    assert len({each.prefix[0] for each in found if len(each.prefix) == 2}) == 1
    assert arrivals_in(path) == found != arrivals_in(path, sampling=Sampling(seed=1))


def test_a_session_shares_what_was_said_in_it(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(
        "session,branch,t_s,model,input_tokens,output_tokens,prefix_hit_tokens\n"
        "1,main,0,m,1100,10,0\n1,main,9,m,2000,10,1100\n2,main,0,m,1100,10,0\n"
    )
    first, second = (each for each in arrivals_in(path) if each.tenant == "session-1")
    (other,) = (each for each in arrivals_in(path) if each.tenant == "session-2")
    assert second.prefix[:2] == first.prefix
    assert len(second.prefix) == 3
    assert not {*other.prefix} & {*second.prefix}


def test_a_trace_without_lengths_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("pool,slot_start_s,req_per_s\na,0,5\na,60,5\n")
    with pytest.raises(ValueError, match="tells no lengths"):
        arrivals_in(path)


@pytest.mark.parametrize("rate", [3.0, 10.0, 24.0, 37.0])
@pytest.mark.parametrize("way", Scaling)
def test_a_trace_comes_at_the_rate_asked_for(rate: float, way: Scaling) -> None:
    found = scaled(poisson(4000, 10.0), rate, way=way)
    assert rate_of(found) == pytest.approx(rate, rel=0.05)
    assert [each.at_s for each in found] == sorted(each.at_s for each in found)


def test_a_burst_stays_as_short_as_it_was() -> None:
    burst = [Arrival(500 + number / 1000, 10, 10) for number in range(50)]
    trace = sorted([*poisson(2000, 2.0), *burst])
    own = rate_of(trace)
    for factor in (0.5, 3.0):
        peak = Counter(int(each.at_s * 10) for each in scaled(trace, own * factor)).most_common(1)[0][1]
        assert peak > 15
    stretched = Counter(int(each.at_s * 10) for each in scaled(trace, own / 50, way=Scaling.STRETCH))
    assert stretched.most_common(1)[0][1] < 15


def test_a_lower_rate_is_a_part_of_a_higher_one() -> None:
    trace = poisson(1000, 10.0)
    lower, higher = (scaled(trace, rate, seed=5) for rate in (3.0, 7.0))
    assert {*lower} < {*higher} < {*trace}
    assert scaled(trace, 3.0, seed=6) != lower


def test_copies_of_a_trace_are_other_peoples_prompts() -> None:
    trace = [Arrival(float(number), 600, 10, None, (number,)) for number in range(100)]
    ids = [each.prefix[0] for each in scaled(trace, 2 * rate_of(trace))]
    assert len({*ids}) == len(ids) == 200


def test_the_highest_load_is_found_to_a_hundredth() -> None:
    asked: list[float] = []

    def keeps(load: float) -> bool:
        asked.append(load)
        return load <= 7.3

    for begin in (0.1, 7.0, 500.0):
        assert 7.3 / 1.01 <= highest(keeps, begin) <= 7.3
    assert len(asked) < 60
    with pytest.raises(ValueError, match="at every rate"):
        highest(lambda _: True, 1.0)
    with pytest.raises(ValueError, match="at no rate"):
        highest(lambda _: False, 1.0)


def test_a_cloud_is_prices_and_times() -> None:
    assert cloud_in("0.15/0.60").usd(1_000_000, 1_000_000) == pytest.approx(0.75)
    slow = cloud_in("1/2,0.8,3,0.05")
    assert (slow.ttft_p50_s, slow.ttft_p95_s, slow.tpot_s) == (0.8, 3.0, 0.05)


@pytest.mark.parametrize("text", ["", "1", "1/2/3", "0/0", "-1/2", "1/x", "1/2,0.5", "1/2,2,1", "1/2,0,1", "nan/1"])
def test_what_is_no_cloud_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="--cloud"):
        cloud_in(text)
