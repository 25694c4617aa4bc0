"""The supervisor's feed as the command line reads it: Snapshots, one after the other."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

from engines.errors import SpillwayError
from engines.snapshot import Snapshot, SnapshotError, feed_address, from_json


class FeedError(SpillwayError):
    """Nobody publishes on the socket, or what comes is no Snapshot."""


def follow(home: Path, silence_s: float = 5.0) -> Iterator[Snapshot]:
    """Snapshots as they come. Raises FeedError when nobody publishes or the feed falls silent."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected:
        connected.settimeout(silence_s)
        try:
            with feed_address(home) as name:
                connected.connect(name)
            with connected.makefile("rb") as lines:
                yield from (from_json(line) for line in lines)
        except (OSError, SnapshotError) as error:
            raise FeedError(f"the supervisor in {home} does not answer: {error}") from error
    raise FeedError("the supervisor has ended")
