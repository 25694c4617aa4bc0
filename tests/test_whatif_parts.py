"""What `whatif` reckons with: speeds that rows tell, hours that stand for others, engines that are like a named one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from benchmarks.simulator.policies.plain import Local
from benchmarks.simulator.steps import Steps
from benchmarks.whatifs.hours import SLOT_S, Window, offsets_s, windows_of
from benchmarks.whatifs.learned import learned
from benchmarks.whatifs.place import Place
from benchmarks.whatifs.row import Row
from router.outcome import Outcome
from tests.owned import rows_of
from tests.worlds import SPEED, poisson, ran, setting_of

HOUR_S = 3600.0
PLACE = Place("llama", "llama", "NVIDIA GeForce RTX 4090", 1, 41_408, 256, 2048, 32, 4096, "none")


def test_speed_is_learned_from_the_rows_of_an_engine() -> None:
    setting = setting_of(poisson(500, 6.0))
    rows = [_read(row) for row in rows_of(setting, ran(setting, Local()))]
    coefficients, off_share = learned([rows])
    found, made = Steps(coefficients), Steps(SPEED)
    assert off_share < 0.1
    for sequences in (1, 10, 30):
        assert found.decode_s(sequences, 400 * sequences) == pytest.approx(made.decode_s(sequences, 0), rel=0.1)
    for tokens in (100, 500, 900):
        assert found.prefill_s(tokens) == pytest.approx(made.prefill_s(tokens), rel=0.15)


def test_windows_stand_for_all_requests_and_are_whole_hours_where_these_fit() -> None:
    # Two days: quiet nights, and one busy hour at each noon.
    slots = {slot: 300 if slot // 12 % 24 == 12 else 10 for slot in range(2 * 24 * 12)}
    total = sum(slots.values())
    assert windows_of(slots, total) == (Window(0, len(slots) * SLOT_S, 1.0),)
    for most, lasts_s in ((9500, HOUR_S), (8000, HOUR_S / 4), (3000, SLOT_S)):
        windows = windows_of(slots, most)
        held = [sum(slots[int(each.start_s // SLOT_S) + i] for i in range(int(lasts_s // SLOT_S))) for each in windows]
        assert {each.lasts_s for each in windows} == {lasts_s}
        assert sum(held) <= most
        assert sum(count * each.weight for count, each in zip(held, windows, strict=True)) == pytest.approx(total)
        assert max(held) == 300 * lasts_s / SLOT_S


def test_windows_follow_each_other_with_a_rest_between_those_that_were_apart() -> None:
    windows = (Window(3600, 3600, 1), Window(7200, 3600, 1), Window(36_000, 3600, 1))
    assert offsets_s(windows) == [-3600, -3600, 7320 - 36_000]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, "rtx4090-llama3.1-8b"),
        ({"gpu": "RTX4090"}, "rtx4090-llama3.1-8b"),
        ({"gpu": "NVIDIA RTX PRO 6000 Blackwell Server Edition"}, "rtxpro6000-llama3.1-8b"),
        ({"gpu": "NVIDIA H200", "quantization": "fp8"}, "h200-llama3.1-8b-fp8"),
        ({"gpu": "NVIDIA H200"}, None),
        ({"quantization": "awq"}, None),
        ({"gpu": "NVIDIA GeForce RTX 4090 Laptop GPU"}, None),
        ({"gpu": "NVIDIA GeForce RTX 4090 D"}, None),
        ({"gpus": 2}, None),
        ({"hidden_size": 8192, "layers": 80}, None),
    ],
)
def test_a_named_engine_stands_for_what_is_like_it_alone(changes: dict[str, Any], named: str | None) -> None:
    assert msgspec.structs.replace(PLACE, **changes).named() == named


def _read(row: Outcome) -> Row:
    return Row(
        row.at_unix_s - row.e2e_s, row.target, row.model, row.tier, row.reason, row.tenant, row.prompt_tokens,
        row.completion_tokens, row.ttft_s, row.e2e_s,
    )  # fmt: skip
