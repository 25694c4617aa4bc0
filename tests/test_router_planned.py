"""What the supervisor knows of the router's tables is what was planned from, whatever becomes of stack.toml later."""

from __future__ import annotations

import subprocess
from pathlib import Path

from engines.plan import Plan
from engines.reign.routerlife import digest_of
from engines.stack import Asked, check_router
from tests.stacks import Place, place_in

LOCK = Path(__file__).parents[1] / "models.lock"


def planned(place: Place) -> Plan:
    return Plan("fingerprint", "cpu", (), (), check_router(Asked(place.config, LOCK, "cpu")))


def test_only_a_changed_endpoint_asks_for_another_router_and_no_file_that_breaks_later(tmp_path: Path) -> None:
    """A second edit may be half saved by the time that the plan of the first is carried out."""
    place = place_in(tmp_path)
    digests = []
    for old, new in (
        ("", ""),
        ("ttft_target_s = 2.0", "ttft_target_s = 3.0"),
        ("[endpoint]", "[endpoint]\nworkers = 2"),
    ):
        place.config.write_text(whole := place.config.read_text().replace(old, new))
        plan = planned(place)
        digests.append(digest_of(plan, "code"))
        place.config.write_text(whole[: len(whole) // 2] + "[")
        assert digest_of(plan, "code") == digests[-1]
        place.config.write_text(whole)
    assert digests[0] == digests[1] != digests[2]


def test_a_router_that_starts_while_its_file_is_refused_obeys_what_was_planned(tmp_path: Path) -> None:
    place, rules = place_in(tmp_path), tmp_path / "rules.json"
    router = planned(place).router
    command = [*router.command, "--planned", str(rules), "--check"]

    def checked() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=place.environment(), capture_output=True, text=True, check=False)

    rules.write_text(router.rules)
    well = checked()
    place.config.write_text(place.config.read_text() + 'half = "')
    refused = checked()
    assert (refused.returncode, refused.stdout) == (0, well.stdout)
    assert "not valid TOML" in refused.stderr
    assert "not valid TOML" not in well.stderr
    rules.write_text(router.rules[:-9])
    assert checked().returncode == 2
