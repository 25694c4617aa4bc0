"""`python -m router.verbs VERB ...`: what `spillway cost`, `spillway preset`, `spillway route` and others run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from engines.snapshot import SnapshotError
from router.errors import ApiError
from router.tables.table import ConfigError
from router.verbs import arms, cost, preset, route
from router.verbs.given import VerbError

# To add one: a file with `run`, a line here, and one in `engines.cli`.
VERBS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "arms": arms.run,
    "cost": cost.run,
    "preset": preset.run,
    "route": route.run,
}
FAILED, USAGE_ERROR = 1, 2


def main(arguments: Sequence[str]) -> int:
    """The exit code: 1 for what cannot be done, in words on stderr; 2 for what was not understood."""
    run = VERBS.get(arguments[0]) if arguments else None
    if run is None:
        print(f"python -m router.verbs: name one of {', '.join(VERBS)}", file=sys.stderr)
        return USAGE_ERROR
    try:
        return run(arguments[1:])
    except (ConfigError, SnapshotError, VerbError) as error:
        print(error, file=sys.stderr)
    except ApiError as error:
        print(error.message, file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        return 130
    return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
