"""What an engine said last, for whoever asks why it is not there."""

from __future__ import annotations

from pathlib import Path

from engines.logtail import last_lines

MOST_LINES = 30
# Lines of ours in an engine's log.
KEEPERS = "[keeper]"


def last_words(log: Path) -> list[str]:
    """The last 30 lines that the engine itself wrote; a log that was just rotated goes on in the older file."""
    said = [line for path in (log.with_name(f"{log.name}.1"), log) for line in last_lines(path, 2 * MOST_LINES)]
    return [line for line in said if line.strip() and not line.startswith(KEEPERS)][-MOST_LINES:]
