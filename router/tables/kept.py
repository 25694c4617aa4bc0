"""Rules in memory that processes share: what a worker that is started again obeys, after stack.toml has changed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from router.tables.rules import Rules


def keep_rules(rules: Rules) -> int:
    """A file descriptor in memory with these rules, for workers that are started after stack.toml has changed."""
    fd = os.memfd_create("spillway-rules")
    keep_rules_in(fd, rules)
    return fd


def keep_rules_in(fd: int, rules: Rules) -> None:
    """These rules from now on. Every worker may write them: they all read the same file."""
    # Whether a key was written or left out is kept too: some holes (`router.overflow`) depend on it.
    content = rules.model_dump_json(exclude_unset=True).encode()
    with _locked(fd, fcntl.LOCK_EX):
        os.pwrite(fd, content, 0)
        os.ftruncate(fd, len(content))


def kept_rules(fd: int) -> Rules:
    """What was kept last; any number of processes may read it."""
    with _locked(fd, fcntl.LOCK_SH):
        content = os.pread(fd, os.fstat(fd).st_size, 0)
    return Rules.model_validate_json(content)


@contextmanager
def _locked(fd: int, how: int) -> Iterator[None]:
    """For this process alone, by a lock that belongs to the process and not to the descriptor, which is shared."""
    fcntl.lockf(fd, how)
    try:
        yield
    finally:
        fcntl.lockf(fd, fcntl.LOCK_UN)
