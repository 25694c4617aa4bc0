"""Plan anew for a home whose supervisor runs: `python -m engines.reign.replanning --home H --config C --lock L`.

A process of its own, because planning takes seconds and asks the driver. 0: the plan is the one that is wanted; 1: it
is not, for the reason on stderr, and the old one stays; 3: somebody else plans at this moment.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from engines import door, home
from engines import runtime as runtimes
from engines.gpus.cards import CardError
from engines.plan import Plan, PlanError, RouterPlan
from engines.planning import startable
from engines.reign.planfile import PlannerBusyError, only_planner, write_plan
from engines.reign.replans import BUSY, REFUSED
from engines.runtime import RuntimeInstallError
from engines.stack import Asked, Stack, StackError, check_router, read_stack
from engines.tables import TableError

REFUSALS = (TableError, StackError, PlanError, CardError, RuntimeInstallError, door.PortTakenError)


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
