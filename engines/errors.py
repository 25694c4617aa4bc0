"""What ends a verb of `spillway`: an error whose words are for whoever runs it."""

from __future__ import annotations


class SpillwayError(Exception):
    """Says what is wrong, where, and how to mend it. The command line prints its words and ends with 1."""

    def words(self) -> str:
        return str(self)
