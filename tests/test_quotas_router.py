"""Limits of a provider through the whole router: real processes, a provider that counts by itself and answers 429."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.routers import TIERS, Router, asked, post, running_router, until
from tests.stand_ins import StandIn, standing_in

KEYS = {"KEY_ONE": "sk-one", "KEY_TWO": "sk-two", "KEY_REVOKED": "sk-revoked"}
LOCAL = "local/tiny"


def deployment(name: str, url: str, limits: str = "", keys: str = '["KEY_ONE", "KEY_TWO"]') -> str:
    """A cloud behind a provider of its own, and a tier that asks it first; whoever finds no room there goes home."""
    return f"""
[tiers.{name}]
ttft_target_s = 1.0
order = ["cloud/{name}", "local"]
[providers.{name}]
key_env = {keys}
base_url = "{url}/v1"
{limits}
[clouds.{name}]
model = "openai/stand-in"
provider = "{name}"
serves = ["tiny"]
input_usd_per_mtok = 0.15
output_usd_per_mtok = 0.60
"""


@contextmanager
def thirty_a_minute() -> Iterator[StandIn]:
    """A provider that takes so many from each of two keys."""
    keys = [word for key in ("sk-one", "sk-two") for word in ("--key", key)]
    with standing_in("cloud", "--ttft-s", "0.01", "--requests-per-minute", "30", *keys) as running:
        yield running


@pytest.fixture(scope="module")
def providers() -> Iterator[dict[str, StandIn]]:
    """One for each test."""
    with ExitStack() as opened:
        yield {name: opened.enter_context(thirty_a_minute()) for name in ("stated", "unstated", "daily")}


@pytest.fixture(scope="module")
def config(providers: dict[str, StandIn]) -> str:
    # One at a time, so that a place that is not given back would be missed as well.
    daily = f'requests_per_day = 3\nconcurrent = 1\nday_zone = "{noon_zone()}"'
    return (
        TIERS
        + deployment("stated", providers["stated"].url, "requests_per_minute = 30")
        + deployment("unstated", providers["unstated"].url)
        + '[tiers.away]\nttft_target_s = 0.1\norder = ["cloud/unstated"]\n'
        + deployment("daily", providers["daily"].url, daily, '["KEY_REVOKED", "KEY_TWO"]')
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quotas")


@pytest.fixture(scope="module")
def router(folder: Path, config: str, tiny_engine: StandIn) -> Iterator[Router]:
    """One worker; whoever asks for `restarted` ends it."""
    with running_router(folder, config, {"tiny": tiny_engine.url}, KEYS) as running:
        yield running


@pytest.fixture(scope="module")
def day(router: Router) -> list[str]:
    """Where requests go that a cloud takes three of in a day, once the one before has given back its place."""

    def target() -> str:
        until(lambda: router.target("cloud/daily")["in_flight"]["requests"] == 0)
        return post(router, asked(), x_spillway_tier="daily")[1]["x-spillway-target"]

    return [target() for _ in range(4)]


@pytest.fixture(scope="module")
def restarted(folder: Path, config: str, tiny_engine: StandIn, router: Router, day: list[str]) -> Iterator[Router]:
    """Two workers in the home of `router`, after that day."""
    router.process.terminate()
    router.process.wait()
    with running_router(folder, "[endpoint]\nworkers = 2\n" + config, {"tiny": tiny_engine.url}, KEYS) as running:
        # Each look is a new connection, which the kernel gives to one of the workers.
        until(lambda: all(running.target("cloud/stated")["state"] == "ready" for _ in range(20)))
        yield running


def burst(router: Router, count: int, tier: str) -> Sequence[tuple[int, Mapping[str, str]]]:
    """So many at the same time."""
    with ThreadPoolExecutor(count) as pool:
        answers = pool.map(lambda _: post(router, asked(), x_spillway_tier=tier), range(count))
        return [(status, headers) for status, headers, _ in answers]


def noon_zone() -> str:
    """Where it is about noon now, so that no midnight comes while a test runs."""
    hours = 12 - time.gmtime().tm_hour
    return f"Etc/GMT{-hours:+d}"


def test_limits_that_nobody_wrote_down_are_learned_and_who_has_nobody_else_waits_for_his_turn(
    router: Router, providers: dict[str, StandIn]
) -> None:
    # The first answers tell of both keys what they have left.
    learned = [post(router, asked(), x_spillway_tier="unstated")[1]["x-spillway-target"] for _ in range(2)]
    answers = burst(router, 70, "unstated")
    in_line = burst(router, 4, "away")
    assert learned == ["cloud/unstated"] * 2
    assert {status for status, _ in answers} == {200}
    assert {headers["x-spillway-target"] for _, headers in answers} == {"cloud/unstated", LOCAL}
    assert [(status, headers["x-spillway-target"]) for status, headers in in_line] == [(200, "cloud/unstated")] * 4
    assert providers["unstated"].stats()["by_status"].get("429", 0) <= 6


def test_a_days_count_survives_a_restart_and_a_key_that_is_refused_is_left_alone(
    day: list[str], restarted: Router, providers: dict[str, StandIn]
) -> None:
    assert day == ["cloud/daily"] * 3 + [LOCAL]
    _, headers, _ = post(restarted, asked(), x_spillway_tier="daily")
    assert (headers["x-spillway-target"], headers["x-spillway-reason"]) == (LOCAL, "fallback:quota")
    assert providers["daily"].stats()["by_status"] == {"200": 3, "401": 1}


def test_workers_share_the_windows_of_all_keys_and_nobody_meets_a_429(
    restarted: Router, providers: dict[str, StandIn]
) -> None:
    began_s = time.monotonic()
    answers = burst(restarted, 80, "stated")
    room = restarted.target("cloud/stated")["room"]
    elapsed_s = time.monotonic() - began_s
    where = Counter(headers["x-spillway-target"] for _, headers in answers)
    assert {status for status, _ in answers} == {200}
    # Two windows of thirty, of which a moment's worth is kept back for requests that are on their way; and what comes
    # back while the burst lasts, one a second.
    assert 56 <= where["cloud/stated"] <= 60 + elapsed_s + 1
    assert where[LOCAL] == 80 - where["cloud/stated"]
    # Two workers that counted each for itself would have sent it twice as many as it takes.
    assert providers["stated"].stats()["by_status"].get("429", 0) <= 6
    assert room["left_share"] < 0.1
