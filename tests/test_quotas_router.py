"""Limits of a provider through the whole router: real processes, a provider that counts by itself and answers 429."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.routers import TIERS, Router, asked, post, running_router, until
from tests.stand_ins import StandIn, standing_in

KEYS = {"KEY_ONE": "sk-one", "KEY_TWO": "sk-two"}
CLOUD, LOCAL = "cloud/limited", "local/tiny"
# Both places, the cloud first; whoever finds no room there goes home.
PREMIUM = {"x_spillway_tier": "premium"}


def limited(url: str, limits: str, workers: int = 1) -> str:
    return f"""
[endpoint]
workers = {workers}
port = 0
{TIERS}
[tiers.away]
ttft_target_s = 0.1
order = ["cloud"]
[providers.stand-in]
key_env = ["KEY_ONE", "KEY_TWO"]
base_url = "{url}/v1"
{limits}
[clouds.limited]
model = "openai/stand-in"
provider = "stand-in"
serves = ["tiny"]
input_usd_per_mtok = 0.15
output_usd_per_mtok = 0.60
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[StandIn]:
    with standing_in("engine", "--model", "tiny") as running:
        yield running


@pytest.fixture
def provider() -> Iterator[StandIn]:
    """Takes thirty a minute from each of two keys."""
    keys = [word for key in KEYS.values() for word in ("--key", key)]
    with standing_in("cloud", "--ttft-s", "0.01", "--requests-per-minute", "30", *keys) as running:
        yield running


def burst(router: Router, count: int, tier: str = "premium") -> Sequence[tuple[int, Mapping[str, str]]]:
    """So many at the same time."""
    with ThreadPoolExecutor(count) as pool:
        answers = pool.map(lambda _: post(router, asked(), x_spillway_tier=tier), range(count))
        return [(status, headers) for status, headers, _ in answers]


def noon_zone() -> str:
    """Where it is about noon now, so that no midnight comes while a test runs."""
    hours = 12 - time.gmtime().tm_hour
    return f"Etc/GMT{-hours:+d}"


def test_workers_share_the_windows_of_all_keys_and_nobody_meets_a_429(
    tmp_path: Path, engine: StandIn, provider: StandIn
) -> None:
    config = limited(provider.url, "requests_per_minute = 30", workers=2)
    with running_router(tmp_path, config, {"tiny": engine.url}, KEYS) as router:
        # Each look is a new connection, which the kernel gives to one of the workers.
        until(lambda: all(router.target(CLOUD)["state"] == "ready" for _ in range(20)))
        answers = burst(router, 80)
        room = router.target(CLOUD)["room"]
    where = Counter(headers["x-spillway-target"] for _, headers in answers)
    assert {status for status, _ in answers} == {200}
    # Two windows of thirty, of which a moment's worth is kept back for requests that are on their way; and what comes
    # back while the burst lasts, which is longer on a machine that is busy.
    assert 56 <= where[CLOUD] <= 70
    assert where[LOCAL] == 80 - where[CLOUD]
    # Two workers that counted each for itself would have sent it twice as many as it takes.
    assert provider.stats()["by_status"].get("429", 0) <= 6
    assert room["left_share"] < 0.1


def test_limits_that_nobody_wrote_down_are_learned_and_who_has_nobody_else_waits_for_his_turn(
    tmp_path: Path, engine: StandIn, provider: StandIn
) -> None:
    with running_router(tmp_path, limited(provider.url, ""), {"tiny": engine.url}, KEYS) as router:
        # The first answers tell of both keys what they have left.
        learned = [post(router, asked(), **PREMIUM)[1]["x-spillway-target"] for _ in range(2)]
        answers = burst(router, 70)
        in_line = burst(router, 4, "away")
    assert learned == [CLOUD, CLOUD]
    assert {status for status, _ in answers} == {200}
    assert {headers["x-spillway-target"] for _, headers in answers} == {CLOUD, LOCAL}
    assert [(status, headers["x-spillway-target"]) for status, headers in in_line] == [(200, CLOUD)] * 4
    assert provider.stats()["by_status"].get("429", 0) <= 6


def test_a_days_count_survives_a_restart_and_a_key_that_is_refused_is_left_alone(
    tmp_path: Path, engine: StandIn, provider: StandIn
) -> None:
    # One at a time, so that a place that is not given back would be missed as well.
    config = limited(provider.url, f'requests_per_day = 3\nconcurrent = 1\nday_zone = "{noon_zone()}"')
    keys = {"KEY_ONE": "sk-revoked", "KEY_TWO": KEYS["KEY_TWO"]}
    with running_router(tmp_path, config, {"tiny": engine.url}, keys) as router:
        before = [post(router, asked(), **PREMIUM) for _ in range(4)]
    with running_router(tmp_path, config, {"tiny": engine.url}, keys) as router:
        after = post(router, asked(), **PREMIUM)
    assert [headers["x-spillway-target"] for _, headers, _ in before] == [CLOUD, CLOUD, CLOUD, LOCAL]
    assert (after[1]["x-spillway-target"], after[1]["x-spillway-reason"]) == (LOCAL, "fallback:quota")
    assert provider.stats()["by_status"] == {"200": 3, "401": 1}
