"""Why an engine cannot take requests now, in words for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from engines.snapshot import EngineState, EngineView
from router.tables.keys import engine_key


def why_off(engine: EngineView, environment: Mapping[str, str]) -> str | None:
    """None: it can. `environment` has the keys of external engines."""
    return _of_its_state(engine) or _no_key(engine.key_env, environment)


def _of_its_state(engine: EngineView) -> str | None:
    state = engine.state
    if state is EngineState.READY:
        return None
    words = DOING.get(state, "") or engine.progress
    again = "" if state in ENDED else " again after"
    what = f"{state} ({words})" if words else f"{state}"
    return what + (f"{again}: {engine.last_error}" if engine.last_error else "")


DOING = {EngineState.SLEEPING: "comes when it is wanted", EngineState.DRAINING: "takes nothing new"}
ENDED = frozenset({EngineState.FAILED, EngineState.QUARANTINED, EngineState.STOPPED})


def _no_key(key_env: str | None, environment: Mapping[str, str]) -> str | None:
    if key_env is None or engine_key(key_env, environment):
        return None
    return f"the variable {key_env} is not set, or holds what no header can"
