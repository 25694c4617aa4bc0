"""Which tests one worker runs when several share the suite: whole modules, some of them together."""

from __future__ import annotations

import importlib
from pathlib import PurePath
from typing import Any

import pytest

# Modules that one worker runs, one after the other, by the name of their share. They come first, for they take longest.
SHARES = {
    # These share a stack with real vLLM. The first module asks it as it was started, the last test of all ends it.
    "the shipped stack": ("test_cli", "test_first_light"),
    # Other real engines, and measures of speed or memory: no two of these at once.
    "one at a time": (
        "test_own_model",
        "test_relay_bench",
        "test_soak",
        "test_backpressure",
        "test_vllm",
    ),
}
SHARE_OF = {module: share for share, modules in SHARES.items() for module in modules}


def shares(config: pytest.Config, log: object) -> Any:
    """The scheduler, whatever `--dist` says: a module's tests share processes, and so do those above.

    The marks of `--dist loadgroup` would say the same, but xdist 3.8 sets them in vain under pytest 9.2.
    """
    # By size it would start the longest pieces last.
    config.option.loadscopereorder = False
    scheduler = importlib.import_module("xdist.scheduler").LoadScopeScheduling(config, log)
    scheduler._split_scope = share_of
    return scheduler


def share_of(test: str) -> str:
    """The name of the share that this test, `path::name`, belongs to."""
    module = PurePath(test.partition("::")[0]).stem
    return SHARE_OF.get(module, module)


def turn(module: str) -> int:
    """The sort key of a module's tests."""
    return (*SHARE_OF, module).index(module)
