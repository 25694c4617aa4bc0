"""Ledgers as an owner's router would have left them: rows of known times on engines of one model, and at its twin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.simulator.setting import Setting
from benchmarks.simulator.world import World
from router.outcome import Outcome
from tests.ledgers import opened
from tests.specimens import outcome

# A Monday, at noon.
BEGAN_UNIX_S = 1_789_387_200.0
STACK = """
[tiers.standard]
ttft_target_s = 2.0
tpot_target_s = 0.08
order = ["local", "cloud"]
[tiers.bulk]
ttft_target_s = 20.0
order = ["local"]
[tiers.premium]
ttft_target_s = 1.0
order = ["cloud", "local"]
[models.llama]
twin = "mid"
[clouds.mid]
model = "openai/some-model"
key_env = "MID_KEY"
optional = true
input_usd_per_mtok = 0.15
output_usd_per_mtok = 0.60
[limits]
default_tier = "standard"
"""


def served(at_s: float, engine: str = "llama", **more: Any) -> Outcome:
    """By an engine of ours, so long after the ledger's beginning: 1,000 tokens, answered by 51 of which 50 take 1 s."""
    e2e_s = 1.5
    usual = {
        "request_id": f"{engine}-{at_s}",
        "at_unix_s": BEGAN_UNIX_S + at_s + e2e_s,
        "target": f"local/{engine}",
        "model": "llama",
        "prompt_tokens": 1000,
        "completion_tokens": 51,
        "ttft_s": 0.5,
        "e2e_s": e2e_s,
        "usd": 0.0,
    }
    return outcome(**{**usual, **more})


def spilled(at_s: float, usd: float = 0.001, **more: Any) -> Outcome:
    """By the twin instead."""
    return served(at_s, **{"target": "cloud/mid", "model": "some-model", "reason": "spill:ttft", "usd": usd, **more})


def rows_of(setting: Setting, world: World) -> list[Outcome]:
    """What a router would have written of a world that ran: the end of each answer, and where it came from."""
    found = []
    for number, arrival in enumerate(setting.arrivals):
        ttft_s, place = world.records.ttft_s[number], world.records.places[number]
        e2e_s = ttft_s + world.records.tpot_s[number] * (arrival.output_tokens - 1)
        told: dict[str, Any] = {
            "at_unix_s": BEGAN_UNIX_S + arrival.at_s + e2e_s,
            "ttft_s": ttft_s,
            "e2e_s": e2e_s,
            "prompt_tokens": arrival.prompt_tokens,
            "completion_tokens": arrival.output_tokens,
        }
        if place < 0:
            found.append(spilled(arrival.at_s, usd=float(setting.usd[number]), **told))
        else:
            found.append(served(arrival.at_s, f"llama-{place + 1}", **told))
    return found


def ledger_of(folder: Path, rows: Iterable[Outcome]) -> Path:
    """The file, with these rows in the order of their ends."""
    path = folder / "ledger.sqlite3"
    with opened(path) as ledger:
        for row in sorted(rows, key=lambda row: row.at_unix_s):
            ledger.record(row)
    return path


def asked_of(folder: Path, ledger: Path, *more: str, stack: str = STACK) -> list[str]:
    """The words of `benchmarks whatif` for this ledger, under that stack.toml."""
    config = folder / "stack.toml"
    config.write_text(stack)
    return ["whatif", "--ledger", str(ledger), "--config", str(config), *more]
