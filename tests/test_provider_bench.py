"""`python -m benchmarks provider`: what clients meet while a provider fails and another one stands behind it."""

from __future__ import annotations

import pytest

from benchmarks.provider import MODES, NAMES, added, measured, met_by
from benchmarks.stream import Sample

GOOD = Sample(200, 1.0, 0.2, 10, 20, "stop", "cloud/first")
LATE = Sample(200, 3.0, 2.2, 10, 20, "stop", "cloud/second")
LOST = Sample(503, 0.1, error="no target answered")
BROKEN = Sample(200, 0.5, 0.2, target="cloud/first", error="cut")


def test_a_request_without_a_token_is_lost_and_one_with_some_is_broken() -> None:
    met = met_by("hangs", 10.0, [GOOD, LATE, LOST, BROKEN], 3)
    assert (met.requests, met.lost, met.broken, met.asked) == (4, 1, 1, 3)
    assert met.where == {"first": 1, "second": 1}
    assert met.longest_ttft_s == 2.2


def test_what_is_added_is_against_the_first_spell() -> None:
    first, second, none = added([met_by(state, 1.0, samples, 0) for state, samples in SPELLS])
    assert (first.added_p95_s, none.added_p95_s) == (0.0, None)
    assert second.added_p95_s == pytest.approx(2.0)


SPELLS = [("well", [GOOD]), ("hangs", [LATE]), ("all lost", [LOST])]


def test_nobody_is_lost_while_a_provider_fails_in_every_way() -> None:
    mets, _ = measured(4.0, 2.5)
    assert [met.state for met in mets] == [NAMES[mode] for mode in MODES]
    assert [met.requests for met in mets] == [10] * len(MODES)
    assert [met.lost for met in mets] == [0] * len(MODES)
    assert mets[0].where.get("first", 0) > 0
    assert mets[1].where.get("first", 0) == 0
    # A try that began late in this spell may end in the next one, in which the first provider is well.
    assert mets[3].where.get("second", 0) > 5
