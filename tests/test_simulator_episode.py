"""A stretch of a run: watched without changing it, and drawn."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.simulator.arrival import Arrival
from benchmarks.simulator.episode import Episode, Stretch, Watched, stretch_of, watched
from benchmarks.simulator.policies.named import named_in
from benchmarks.simulator.policies.plain import Local
from benchmarks.simulator.sequence import Request
from benchmarks.simulator.setting import Setting
from benchmarks.simulator.trial import outcome
from benchmarks.simulator.world import World
from tests.worlds import poisson, setting_of


@pytest.fixture(scope="module")
def crowded() -> Setting:
    return setting_of(poisson(300, 14.0))


@pytest.fixture(scope="module")
def seen(crowded: Setting) -> Episode:
    return watched(crowded, named_in("sluice"), Stretch(5.0, 15.0))[1]


def test_who_watches_changes_nothing(crowded: Setting) -> None:
    plain = outcome(crowded, named_in("sluice"))
    seen, _ = watched(crowded, named_in("sluice"), Stretch(0.0, 20.0))
    assert 0 < plain.spilled_share < 1
    assert replace(seen, run_s=plain.run_s) == plain


def test_whoever_came_in_the_stretch_is_served_here_or_spilled(crowded: Setting, seen: Episode) -> None:
    came = [each for each in crowded.arrivals if 5.0 <= each.at_s < 20.0]
    at_s, here, spilled = seen.rates(0.5)
    assert at_s.tolist() == np.arange(5.0, 20.0, 0.5).tolist()
    assert (here.sum() + spilled.sum()) * 0.5 == pytest.approx(len(came))
    assert spilled.sum() * 0.5 == pytest.approx(seen.spilled.sum())
    assert seen.spilled.any()


def test_dollars_are_those_of_who_was_spilled(crowded: Setting, seen: Episode) -> None:
    at_s, paid_usd, all_usd = seen.paid()
    assert (np.diff(at_s) >= 0).all()
    # Of some the prompt is paid for a second time.
    once_usd = seen.cloud_usd[seen.spilled].sum()
    assert once_usd <= paid_usd[-1] < 1.1 * once_usd
    assert not seen.paid_usd[~seen.spilled].any()
    came = [crowded.cloud.usd(each.prompt_tokens, each.output_tokens) for each in crowded.arrivals]
    assert 0 < paid_usd[-1] < all_usd[-1] < sum(came)


def test_the_line_and_the_room_are_looked_at_as_often_as_something_happens(seen: Episode) -> None:
    assert len(seen.looked_s) > 100
    assert seen.looked_s[0] >= 5.0
    assert seen.looked_s[-1] <= 20.0
    assert seen.waiting.max() > 0
    assert 0 < seen.kv_share.max() <= 1


def test_what_was_expected_is_known_of_who_is_served_here_and_is_near(seen: Episode) -> None:
    off_s = np.abs(seen.ttft_s - seen.expected_ttft_s)[~seen.spilled]
    assert float(np.median(off_s)) < 0.2


def test_what_a_policy_says_that_it_expects_is_counted_from_the_arrival(crowded: Setting) -> None:
    class Expecting(Local):
        def arrived(self, request: Request, now_s: float) -> None:
            request.expected_ttft_s = 0.25
            super().arrived(request, now_s)

    policy = Watched(Expecting(), Stretch(0.0, 5.0))
    assert World(crowded, policy).run()
    came = [number for number, each in enumerate(crowded.arrivals) if each.at_s < 5.0]
    assert policy.expected_ttft_s == dict.fromkeys(came, 0.25)


def test_a_policy_that_expects_nothing_has_no_expectation(crowded: Setting) -> None:
    _, seen = watched(crowded, named_in("count=4"), Stretch(5.0, 5.0))
    assert np.isnan(seen.expected_ttft_s).all()
    assert not np.isnan(seen.ttft_s).any()


def test_the_busiest_part_is_in_the_middle() -> None:
    calm = [Arrival(float(second), 10, 10) for second in range(300)]
    burst = [Arrival(200 + step / 100, 500, 50) for step in range(100)]
    setting = setting_of(sorted([*calm, *burst], key=lambda each: each.at_s))
    stretch = stretch_of(setting, lasts_s=60.0)
    assert stretch.holds(200.0)
    assert stretch.holds(201.0)
    assert abs(stretch.from_s + 30 - 200) < 60 * 0.4
    assert stretch_of(setting).to_s <= 300


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "small.csv"
    rows = [f"{each.at_s},{each.prompt_tokens * 2},{each.output_tokens * 4}" for each in poisson(300, 8.0)]
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *rows]) + "\n")
    return str(path)


def test_the_picture_is_a_png_as_wide_as_a_page(trace: str, tmp_path: Path) -> None:
    file = tmp_path / "episode.png"
    words = ["--share", "0.5", "--policy", "sluice", "--plot", str(file), "--plot-from", "5", "--plot-seconds", "20"]
    assert main(["simulate", "--trace", trace, *words]) == 0
    written = file.read_bytes()
    assert written.startswith(b"\x89PNG")
    assert struct.unpack(">I", written[16:20])[0] >= 1200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--plot", "episode.svg"], "--plot"),
        (["--plot", "nowhere/episode.png"], "there is no folder nowhere"),
        (["--plot-from", "5"], "--plot FILE"),
        (["--plot", "e.png", "--plot-from", "5000"], "no request comes"),
        (["--plot", "e.png", "--plot-seconds", "0"], "longer than 0 s"),
    ],
)
def test_bad_input_is_one_sentence(
    trace: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(trace).parent)
    assert main(["simulate", "--trace", trace, *words]) == 2
    assert said in capsys.readouterr().err
