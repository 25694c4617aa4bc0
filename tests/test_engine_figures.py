"""What is known of an engine: its memory, its last words, and when it ended too often."""

import os
from dataclasses import replace
from pathlib import Path

from engines.gpus.gpu import Gpu, GpuProcess
from engines.life.holding import gpu_bytes, host_bytes
from engines.life.last_words import last_words
from engines.life.trials import Trials
from engines.starting import failure
from engines.starting.ladder import MOST_CRASHES
from tests.supervised import engine_plan


def test_ends_soon_after_it_was_ready_are_a_crash_loop_in_the_end() -> None:
    trials = Trials(engine_plan("one"))
    killed = failure.classify([], "signal SIGKILL")
    assert [trials.ended(killed, True, crashes) for crashes in range(1, MOST_CRASHES + 1)] == [""] * MOST_CRASHES
    why = trials.ended(killed, True, MOST_CRASHES + 1)
    assert why.startswith("it was killed from outside (signal SIGKILL).")
    assert f"It ended {MOST_CRASHES + 1} times in a row soon after it was ready." in why


def test_the_last_words_are_the_engines_own_and_go_back_into_the_older_file(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    log.with_name("one.log.1").write_text("".join(f"old {number}\n" for number in range(50)))
    log.write_text("new 1\n\nnew 2\n[keeper] one ended: signal 9\n")
    said = last_words(log)
    assert (len(said), said[0], said[-3:]) == (30, "old 22", ["old 49", "new 1", "new 2"])
    assert last_words(tmp_path / "none.log") == []


def test_memory_on_gpus_is_what_the_driver_says_of_our_processes() -> None:
    card = Gpu("GPU-a", "Card", 80, 50, 30, processes=(GpuProcess(7, 20), GpuProcess(8, 5), GpuProcess(9, 25)))
    assert gpu_bytes([card], {7, 8, 100}) == 25
    assert gpu_bytes([card], {100}) is None
    assert gpu_bytes([replace(card, processes=(GpuProcess(7, None), GpuProcess(8, 5)))], {7, 8}) is None


def test_memory_of_the_host_is_that_of_living_processes() -> None:
    own = host_bytes({os.getpid()})
    assert own is not None
    assert own > 2**20
    assert host_bytes(set()) is None
