"""`python -m router.verbs VERB ...`: what `spillway cost`, `spillway preset`, `spillway route` and others run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from engines.snapshot import SnapshotError
from router.errors import ApiError
from router.tables.table import ConfigError
from router.verbs.given import VerbError

# Each is a module here, imported when it is asked for. To add one: a file with `run`, its name here, and a line in
# `engines.cli`.
VERBS = ("arms", "cost", "preset", "route")
FAILED, USAGE_ERROR = 1, 2


def main(arguments: Sequence[str]) -> int:
    """The exit code: 1 for what cannot be done, in words on stderr; 2 for what was not understood."""
    if not arguments or arguments[0] not in VERBS:
        print(f"python -m router.verbs: name one of {', '.join(VERBS)}", file=sys.stderr)
        return USAGE_ERROR
    try:
        return int(import_module(f"router.verbs.{arguments[0]}").run(arguments[1:]))
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
