"""`python -m router`: serve the endpoint, for the supervisor of this SPILLWAY_HOME or for engines given by URL."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from engines.snapshot import ModelView, SnapshotError, models_from_json
from ground.prices import PRICES
from router.gaps import gaps
from router.seat import ALONE, Place, take
from router.tables.kept import keep_rules, kept_rules
from router.tables.keys import read_keys
from router.tables.read import load_rules, parse_rules
from router.tables.rules import Rules
from router.tables.table import ConfigError
from router.tables.tier import Tier
from router.workers import Orders, become_parent

USAGE_ERROR = 2
ALONE_TIERS = {
    "bulk": Tier(ttft_target_s=20.0, order=("local",), may_spill=False),
    "standard": Tier(ttft_target_s=2.0, order=("local", "cloud")),
    "premium": Tier(ttft_target_s=1.0, order=("cloud", "local")),
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        engines = _engines(options.engine)
        models = models_from_json(options.models)
        place = Place(**json.loads(options.seat)) if options.seat else None
        rules = _usable_rules(options, models, bool(engines)) if place is None else kept_rules(place.rules_fd)
        keys = read_keys(rules.endpoint)
    except (ConfigError, SnapshotError) as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    if options.check:
        print(json.dumps(rules.model_dump(mode="json") | {"host": rules.endpoint.host, "port": rules.endpoint.port}))
        return 0
    if place is None and rules.endpoint.workers > 1:
        become_parent(_orders(sys.argv[1:] if arguments is None else arguments, rules))
    seat = ALONE if place is None else take(place)
    # Imported only now, so that --check answers in a fraction of a second.
    from router.serve import Alone, serve  # noqa: PLC0415

    return serve(rules, keys, Alone(engines, models), options.home, seat, _path(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spillway router", description=__doc__)
    parser.add_argument("--config", type=Path, help="stack.toml; with --engine it may be left out")
    parser.add_argument(
        "--engine", action="append", default=[], metavar="[NAME=]URL", help="an engine that runs already"
    )
    parser.add_argument("--host", help="overrides [endpoint] host")
    parser.add_argument("--port", type=int, help="overrides [endpoint] port")
    parser.add_argument("--workers", type=int, help="overrides [endpoint] workers")
    parser.add_argument(
        "--check",
        action="store_true",
        help="validate the configuration, print it as JSON and stop",
    )
    parser.add_argument(
        "--models", default="[]", help="locked facts as JSON; `spillway router` takes them from models.lock"
    )
    home = os.environ.get("SPILLWAY_HOME", ".spillway")
    parser.add_argument(
        "--home", type=Path, default=Path(home).absolute(), help="where the state lives (SPILLWAY_HOME)"
    )
    parser.add_argument("--planned", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seat", help=argparse.SUPPRESS)
    return parser


def _orders(arguments: Sequence[str], rules: Rules) -> Orders:
    at = rules.endpoint
    return Orders(list(arguments), at.workers, at.host, at.port, rules.limits.drain_s, keep_rules(rules))


def _engines(texts: Sequence[str]) -> dict[str, str]:
    named = [_engine(text) for text in texts]
    engines = dict(named)
    if len(engines) < len(named):
        raise ConfigError("--engine: two engines have the same name; give each its own, as in --engine other=URL")
    return engines


def _engine(text: str) -> tuple[str, str]:
    """(name, URL) of `NAME=URL` or of a bare URL, which names itself by host and port."""
    name, separator, url = text.partition("=")
    if not separator or "://" in name:
        name, url = "", text
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ConfigError(f"--engine {text}: not a URL; write --engine tiny=http://127.0.0.1:8000")
    return name or parts.netloc.replace(":", "-"), url.rstrip("/").removesuffix("/v1")


def _path(options: argparse.Namespace) -> Path | None:
    """The stack.toml; None for engines by URL and the tiers that go with them."""
    if options.config is None and options.engine:
        return None
    path: Path = options.config or Path("compose/stack.toml")
    return path.absolute()


def _usable_rules(options: argparse.Namespace, models: Sequence[ModelView], is_open: bool) -> Rules:
    """Those of stack.toml; where it is refused those that were `--planned` from when it last was not. A router that
    dies while its file is half saved shall come back. Raises ConfigError where neither can be used."""
    path = _path(options)
    try:
        rules = Rules(tiers=ALONE_TIERS) if path is None else load_rules(options.config or path)
        rules = _overridden(rules, options)
        _refuse_gaps(rules, models, path, is_open)
    except ConfigError as error:
        planned = _planned(options.planned)
        if planned is None:
            raise
        print(f"{error}\nThe rules that were planned from are obeyed until it is mended.", file=sys.stderr)
        return _overridden(planned, options)
    return rules


def _planned(path: Path | None) -> Rules | None:
    """The JSON of rules that were usable. A file that is not whole is no help."""
    try:
        return None if path is None else Rules.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def _overridden(rules: Rules, options: argparse.Namespace) -> Rules:
    given = {key: vars(options)[key] for key in ("host", "port", "workers") if vars(options)[key] is not None}
    endpoint = rules.endpoint.model_dump() | given
    return parse_rules(rules.model_dump(exclude_unset=True) | {"endpoint": endpoint}, "--host, --port and --workers")


def _refuse_gaps(rules: Rules, models: Sequence[ModelView], path: Path | None, is_open: bool) -> None:
    """Raises ConfigError. Engines by URL and the tiers that go with them promise nothing that could be missing; nor is
    a worker that is started again asked, for its siblings obey the same rules already."""
    holes = [] if path is None else gaps(rules, models, PRICES, os.environ, is_open)
    if holes:
        raise ConfigError("\n".join(f"{path}: {hole}" for hole in holes))


if __name__ == "__main__":
    sys.exit(main())
