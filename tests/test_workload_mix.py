"""Who asks: the shares hold in every prefix, one name does not follow another, and a trace's own word stays."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from benchmarks.workload.arrival import Arrival, Prompt
from benchmarks.workload.mix import applied, mix_in

TEXT = "tier=standard:0.6,bulk:0.25,premium:0.15;task=code:0.5,chat:0.5;tenant=a:0.5,b:0.5;local_only=0.25"
SHARES = {"standard": 0.6, "bulk": 0.25, "premium": 0.15}
ASKED = Arrival(Prompt("hello"))


def mixed(text: str, count: int, seed: int = 1) -> list[Arrival]:
    return list(applied([ASKED] * count, mix_in(text), Random(seed)))


@pytest.mark.parametrize("seed", range(5))
def test_every_prefix_holds_the_shares_to_within_a_few_requests(seed: int) -> None:
    tiers: Counter[str] = Counter()
    for number, arrival in enumerate(mixed(TEXT, 5000, seed), 1):
        tiers[arrival.tier] += 1
        assert all(abs(tiers[tier] - share * number) < 5 for tier, share in SHARES.items())


@pytest.mark.parametrize("seed", range(5))
def test_one_name_says_nothing_about_another(seed: int) -> None:
    found = Counter((each.tier, each.task, each.tenant, each.local_only) for each in mixed(TEXT, 4000, seed))
    for (tier, _, _, local_only), seen in found.items():
        assert seen / 4000 == pytest.approx(SHARES[tier] * 0.25 * (0.25 if local_only else 0.75), abs=0.01)
    assert len(found) == 3 * 2 * 2 * 2


def test_what_the_arrival_says_of_itself_stays() -> None:
    (arrival,) = applied([Arrival(Prompt("hello"), tier="premium")], mix_in("tier=bulk;tenant=a"), Random(1))
    assert (arrival.tier, arrival.tenant) == ("premium", "a")


def test_no_mix_changes_nothing() -> None:
    assert mixed("", 3) == [ASKED] * 3


def test_a_mix_reads_back_as_it_was_written() -> None:
    assert str(mix_in(TEXT)) == TEXT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tier=a:0.5,b:0.4", "sum to 0.9"),
        ("tier=a:0.5,a:0.5", "each value once"),
        ("colour=red", "tier, task, tenant, local_only"),
        ("tier=a;tier=b", "at most once"),
        ("tier", "at most once"),
        ("tier=a:much", "not a number"),
        ("local_only=1.5", "between 0 and 1"),
        ("local_only=nan", "between 0 and 1"),
    ],
)
def test_a_wrong_mix_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        mix_in(text)
