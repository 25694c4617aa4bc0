"""Plan anew for a home whose supervisor runs: `python -m engines.reign.replanning --home H --config C --lock L`.

A process of its own, because planning takes seconds and asks the driver. 0: the plan is the one that is wanted; 1: it
is not, for the reason on stderr, and the old one stays; 3: somebody else plans at this moment.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engines import door, home
from engines import runtime as runtimes
from engines.gpus.cards import CardError
from engines.plan import Plan, PlanError, RouterPlan
from engines.planning import startable
from engines.runtime import RuntimeInstallError
from engines.stack import Asked, Stack, StackError, check_router, read_stack
from engines.tables import TableError

REFUSED, BUSY = 1, 3
REFUSALS = (TableError, StackError, PlanError, CardError, RuntimeInstallError, door.PortTakenError)
LOCK_WAIT_S = 2.0
LOCK_PAUSE_S = 0.1


class PlannerBusyError(Exception):
    """Somebody else holds the right to write plan.json."""


@contextmanager
def only_planner(at: Path, limit_s: float | None = LOCK_WAIT_S) -> Iterator[None]:
    """The one that may write plan.json. Raises PlannerBusyError after `limit_s`; None: waits for it."""
    with (at / "up.lock").open("w") as lock:
        if limit_s is None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        else:
            _lock_within(lock.fileno(), limit_s)
        yield


def _lock_within(fd: int, limit_s: float) -> None:
    deadline_s = time.monotonic() + limit_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                raise PlannerBusyError from None
            time.sleep(LOCK_PAUSE_S)
        else:
            return


def write_plan(at: Path, text: str) -> None:
    """Whole or not at all, so that a supervisor never reads half a plan; with it all is tried anew. Raises OSError."""
    path = home.plan_path(at)
    fd, partial = tempfile.mkstemp(dir=at, prefix="plan.json.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        Path(partial).replace(path)
        _declined_path(at).unlink(missing_ok=True)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def decline(at: Path, digest: str, words: str) -> None:
    """Remember that files of this content cannot run as planned, though the plan that was made of them was well."""
    try:
        _declined_path(at).write_text(json.dumps([digest, words]), encoding="utf-8")
    except OSError:
        # Then they are tried once more, by themselves.
        return


def declined(at: Path, digest: str) -> str:
    """Why files of this content are not to be tried again; "" if they may be."""
    try:
        known, words = json.loads(_declined_path(at).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return ""
    return str(words) if known == digest else ""


def _declined_path(at: Path) -> Path:
    return at / "declined.json"


def replan(asked: Asked, at: Path, without: Sequence[str]) -> bool:
    """Whether there is another plan now. Raises one of REFUSALS, PlannerBusyError, or OSError for plan.json."""
    with only_planner(at):
        stack = read_stack(asked)
        before = home.last_plan(at)
        if before and before.fingerprint == stack.fingerprint and set(before.without) == set(without):
            return False
        router = check_router(asked)
        require_port(before, router)
        require_runtime(stack)
        plan = startable(stack, router, at, tuple(without))
        write_plan(at, plan.to_json())
        return True


def require_port(before: Plan | None, router: RouterPlan) -> None:
    """Raises PortTakenError where the router would leave the port that it has for one that it cannot have."""
    if before is None or (before.router.host, before.router.port) != (router.host, router.port):
        door.require_free(router.host, router.port)


def require_runtime(stack: Stack) -> None:
    """Raises StackError where engines would need one that is not here: installing takes minutes and a network."""
    if stack.needs_runtime and not runtimes.is_ready(stack.runtime):
        raise StackError(f"the runtime {stack.runtime.name} {stack.runtime.version} is missing. Run `spillway up`.")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    asked = Asked(options.config.absolute(), options.lock.absolute(), options.profile)
    try:
        print("planned anew" if replan(asked, options.home, options.without) else "nothing to change")
    except PlannerBusyError:
        print("another plan is being made", file=sys.stderr)
        return BUSY
    except REFUSALS as error:
        print(error, file=sys.stderr)
        return REFUSED
    except OSError as error:
        print(f"{error.filename or options.home} cannot be read or written: {error.strerror or error}", file=sys.stderr)
        return REFUSED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engines.reign.replanning")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--lock", type=Path, required=True)
    parser.add_argument("--profile", choices=("cpu", "gpu"))
    parser.add_argument("--without", nargs="*", default=[], metavar="UUID", help="GPUs in quarantine")
    return parser


if __name__ == "__main__":
    sys.exit(main())
