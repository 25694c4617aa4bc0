"""Names for requests and flights that no other has, in this process or any other, now or after a restart.

A random prefix, drawn once a process, and a count: a random number for each request would cost as much as reading it.
"""

from __future__ import annotations

import itertools
import os


class Ids:
    """An endless supply of names."""

    def __init__(self) -> None:
        self._renew()
        # A worker that was forked must not go on with the names of its parent.
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._prefix = os.urandom(8).hex() + "-"
        self._numbers = itertools.count(1)

    def __call__(self) -> str:
        return self._prefix + str(next(self._numbers))


# The method itself, which is called in half the time that it takes to call an object.
new_id = Ids().__call__
