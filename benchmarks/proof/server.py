"""What the harness's own stand-ins are told, and what they have counted."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping


def pace(url: str, *, first_s: float, gap_s: float) -> None:
    """How fast the stub engine speaks: to its first token, and from token to token."""
    for name, seconds in (("first", first_s), ("delay", gap_s)):
        with urllib.request.urlopen(f"{url}/_stub/{name}/{round(seconds * 1e6)}") as answer:
            answer.read()


def counts(url: str) -> Mapping[str, int]:
    """What the stub engine has done until now; the tokens of an answer count when it ends."""
    with urllib.request.urlopen(f"{url}/_stub/stats") as answer:
        found: dict[str, int] = json.load(answer)
    return found
