"""The whole comparison: engine and cloud are started once, contenders one after the other in front of them."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.demo_stack import new_key
from benchmarks.machine import cores, family, foreign_share, look, on_core
from benchmarks.process import process
from benchmarks.rivals import engine
from benchmarks.rivals.capacity import highest
from benchmarks.rivals.contender import CLOUD_MODEL, Contender, Door, Ground, opened
from benchmarks.rivals.model import write_model
from benchmarks.rivals.outcome import Outcome, Till, all_cloud_usd, outcome_of
from benchmarks.rivals.setting import CLOUD_JITTER, CLOUD_TTFT_S, Setting
from benchmarks.rivals.trial import asked, endpoint, keeps, page_of, till_of, warm
from benchmarks.rivals.window import arrivals
from benchmarks.workload.arrival import Arrival

Say = Callable[[str], None]
FIRST_RATE = 2.0
# Of load 1.0, what a contender is warmed with.
WARM_LOAD = 0.8
# So that no two runs ask with the same words: each trial has a number of its own, from this one on.
WARM_NUMBER, PROBE_NUMBER, TRIAL_NUMBER = 1, 1000, 2000


@dataclass(frozen=True, slots=True)
class Comparison:
    """`capacity` in requests/s is load 1.0."""

    capacity: float
    outcomes: Sequence[Outcome]


def compared(setting: Setting, say: Say) -> Comparison:
    """Raises ValueError or OSError with a sentence; whatever was started has ended then."""
    pair = cores()
    home_core, other_core = pair if pair else (None, None)
    with tempfile.TemporaryDirectory(prefix="spillway-rivals-") as name, on_core(other_core), ExitStack() as running:
        folder = Path(name)
        engine_url = running.enter_context(_engine(setting, folder, home_core))
        key = new_key()
        cloud_url = running.enter_context(process(*_cloud_words(setting, key)))
        ttft_s = setting.promise.limits_s["ttft_s"]
        share = setting.promise.share
        ground = Ground(engine_url, cloud_url, key, setting.price, ttft_s, folder, share, setting.litellm, other_core)
        course = Course(setting, ground, say)
        capacity = setting.capacity or asyncio.run(course.capacity())
        say(f"load 1.0 is {capacity:.3g} requests/s")
        return Comparison(capacity, list(course.outcomes(capacity)))


class Course:
    """The one writer of the count of trials."""

    def __init__(self, setting: Setting, ground: Ground, say: Say) -> None:
        self._setting = setting
        self._ground = ground
        self._say = say
        self._trials = 0

    async def capacity(self) -> float:
        """The highest rate that the engine alone keeps the promise for, asked without anything between."""
        place = endpoint(Door(self._ground.engine_url), self._setting.most_tokens)
        await warm(place, self._warming(FIRST_RATE))

        async def kept(rate: float) -> bool:
            self._trials += 1
            found = await keeps(place, self._stretches(rate, PROBE_NUMBER), self._setting.promise)
            self._say(f"the engine alone at {rate:.3g} requests/s: {'kept' if found else 'broken'}")
            return found

        return await highest(kept, FIRST_RATE)

    def outcomes(self, capacity: float) -> Iterator[Outcome]:
        """Each contender at each load."""
        for contender in self._setting.contenders:
            with opened(contender, self._ground) as door:
                place = endpoint(door, self._setting.most_tokens)
                asyncio.run(warm(place, self._warming(capacity * WARM_LOAD)))
                for load in self._setting.loads:
                    yield asyncio.run(self._outcome(contender, door, load, capacity))

    async def _outcome(self, contender: Contender, door: Door, load: float, capacity: float) -> Outcome:
        setting, self._trials = self._setting, self._trials + 1
        stretches = self._stretches(load * capacity, TRIAL_NUMBER)
        before, began = await till_of(self._ground.cloud_url), look()
        samples = await asked(endpoint(door, setting.most_tokens), stretches)
        after, ended = await till_of(self._ground.cloud_url), look()
        everything = [each for stretch in stretches for each in stretch]
        till = Till(after.requests - before.requests, after.usd - before.usd)
        named = (contender.name, load, load * capacity)
        all_usd = all_cloud_usd(everything, setting.price)
        found = outcome_of(named, samples, setting.promise, till, all_usd, await page_of(door.metrics_url))
        self._say(
            f"{contender.name} at load {load:g}: kept {found.kept_share:.2%}, bill {found.bill_share:.1%}, "
            f"{found.requests} requests"
        )
        ours = [each.pid for each in family(os.getpid())]
        return replace(found, others_share=foreign_share(began, ended, ours))

    def _stretches(self, rate: float, number: int) -> Sequence[Sequence[Arrival]]:
        run = self._setting.prompt_seed + number + self._trials
        return [
            arrivals(self._setting.source, each, rate, run * self._setting.stretches + each)
            for each in range(self._setting.stretches)
        ]

    def _warming(self, rate: float) -> Sequence[Arrival]:
        """From the stretch that comes after the measured ones."""
        self._trials += 1
        after = self._setting.source.start_s + self._setting.stretches * self._setting.source.seconds
        source = replace(self._setting.source, start_s=after, seconds=self._setting.warm_s)
        return arrivals(source, 0, rate, self._setting.prompt_seed + WARM_NUMBER + self._trials)


@contextmanager
def _engine(setting: Setting, folder: Path, core: int | None) -> Iterator[str]:
    if setting.fake_options is not None:
        with engine.fake(setting.fake_options, core) as url:
            yield url
        return
    model = folder / "model"
    write_model(model, setting.size)
    python = setting.python or engine.python_of_runtime(os.environ)
    with engine.vllm(python, model, setting.room, core) as url:
        yield url


def _cloud_words(setting: Setting, key: str) -> Sequence[str]:
    words = ["benchmarks", "cloud", "--model", CLOUD_MODEL, "--key", key, "--lengths-by-seed"]
    words += ["--ttft-s", f"{CLOUD_TTFT_S}", "--ttft-jitter", f"{CLOUD_JITTER}", "--words-per-delta", "4"]
    words += ["--input-usd-per-mtok", f"{setting.price.input_usd_per_mtok}"]
    return [*words, "--output-usd-per-mtok", f"{setting.price.output_usd_per_mtok}"]
