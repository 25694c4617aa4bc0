"""What the router says about itself: models, readiness, status, and why each request went where it went.

Pure but for the Doors it reads. Everything here is plain JSON values.
"""

from __future__ import annotations

import math
import os
from typing import Any

from msgspec import to_builtins

from router.ask import AUTO
from router.costs import costs
from router.imagined import whole
from router.pacing import in_words
from router.routing.fleet import Fleet, Place, Target
from router.served import Doors
from router.spilling.budget import Allowance
from router.tables.keys import engine_key
from router.tables.rules import Rules


def model_list(fleet: Fleet, rules: Rules) -> dict[str, Any]:
    """`GET /v1/models`: canonical models first, then the names that let Spillway choose."""
    chosen = [*sorted(AUTO), *(f"tier/{name}" for name in rules.tiers), *(f"task/{name}" for name in rules.tasks)]
    models = [_model(name, fleet) for name in sorted(fleet.model_names())]
    return {"object": "list", "data": models + [_listed(name) for name in chosen]}


def _model(name: str, fleet: Fleet) -> dict[str, Any]:
    serving = [target for target in fleet.targets if name in target.models]
    able = [target for target in serving if target.off is None] or serving
    return _listed(name) | {"max_model_len": max(target.context_tokens for target in able)}


def _listed(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "spillway"}


def ready(fleet: Fleet) -> tuple[bool, dict[str, Any]]:
    """`GET /readyz`: can any target serve now, and why the others cannot."""
    can = any(target.off is None for target in fleet.targets)
    targets = {target.name: target.off or "ready" for target in fleet.targets}
    return can, {"status": "ready" if can else "not ready", "targets": targets}


def status(doors: Doors, now_s: float) -> dict[str, Any]:
    """`GET /spillway/status`: as it is now; a decision takes the clouds' limits as they were a moment ago."""
    doors.quotas.look()
    watch, fleet = doors.watch, doors.watch.view(now_s)
    snapshot, rules = watch.snapshot, watch.rules
    together, spent = doors.reports.together(), doors.ledger.spent
    return {
        "endpoint": f"http://{rules.endpoint.host}:{rules.endpoint.port}/v1",
        "ready": ready(fleet)[0],
        "workers": doors.seat.workers,
        "worker": {"number": doors.seat.number, "pid": os.getpid(), "waiting": len(doors.lobby) + len(doors.basin)},
        "snapshot_age_s": round(watch.snapshot_age_s(now_s), 3) if snapshot else None,
        "refused": snapshot.refused if snapshot else "",
        "busy": snapshot.busy if snapshot else "",
        "config": _config(doors),
        "engines": [to_builtins(engine) for engine in snapshot.engines] if snapshot else [],
        "gpus": [to_builtins(gpu) for gpu in snapshot.gpus] if snapshot else [],
        "host": to_builtins(snapshot.host) if snapshot else None,
        "preset": rules.active_preset,
        "presets": doors.reports.presets(),
        "cost_per_job": {cost.job: cost.usd for cost in costs(rules, whole(fleet, rules))},
        "targets": [_target(target, now_s) for target in fleet.targets],
        "tiers": [{"name": name} | tier.model_dump(mode="json") for name, tier in rules.tiers.items()],
        "clouds": [_cloud(target) for target in fleet.targets if target.place is Place.CLOUD],
        "spilling": together.spilling,
        "lines": [to_builtins(line) for line in watch.pools.shown(now_s)],
        "kept": dict(watch.pools.kept_shares()),
        "spend": {
            "today_usd": round(spent.day, 8),
            "hour_usd": round(spent.hour, 8),
            "month_usd": round(spent.month, 8),
            "cloud_usd_per_day": rules.limits.cloud_usd_per_day,
            "cloud_usd_per_hour": rules.limits.cloud_usd_per_hour,
            "cloud_usd_per_month": rules.limits.cloud_usd_per_month,
            "pacing": _pacing(doors.pacing.now(rules), rules),
            "lost_outcomes": together.lost_outcomes,
            "ledger": together.ledger,
        },
    }


def _pacing(found: Allowance, rules: Rules) -> dict[str, Any]:
    """As of the worker that is asked. `price_factor` is None where nothing is left; `short` says in words what that
    means, "" where the money will last."""
    return {
        "price_factor": round(found.price_factor, 4) if found.price_factor < math.inf else None,
        "usd_now": {tier: round(usd, 8) for tier, usd in found.usd_now.items()},
        "stretch": {tier: round(times, 4) for tier, times in found.stretch.items()},
        "short": in_words(found, rules),
    }


def _config(doors: Doors) -> dict[str, Any]:
    """The file that is obeyed, and what it is judged by: `keys` says which of the variables that it names are set."""
    edits, watch = doors.edits, doors.watch
    named = {name for each in watch.deployed.all for name in each.key_envs}
    return {
        "path": None if edits.path is None else str(edits.path),
        "sha256": edits.seen_sha256,
        "refused": edits.refused,
        "is_open": edits.is_open,
        "keys": {name: engine_key(name, watch.deployed.environment) is not None for name in sorted(named)},
    }


def _target(target: Target, now_s: float) -> dict[str, Any]:
    flying = target.in_flight
    return {
        "name": target.name,
        "models": sorted(target.models),
        "state": "ready" if target.off is None else target.off,
        "resting": target.health.cause,
        "share": target.health.share,
        "room": to_builtins(target.room),
        "context_tokens": target.context_tokens,
        "in_flight": {
            "requests": flying.requests,
            "promised_tokens": flying.promised_tokens,
            "unstarted": flying.unstarted,
            "unstarted_tokens": flying.unstarted_tokens,
            "oldest_wait_s": now_s - flying.oldest_sent_at_s if flying.unstarted else 0.0,
        },
        "pace": to_builtins(target.pace),
        "load": to_builtins(target.load) if target.load else None,
        "stale": target.stale,
        "slots": target.slots,
        "weight": target.weight,
    }


def _cloud(target: Target) -> dict[str, Any]:
    price = target.price
    return {
        "name": target.name.removeprefix("cloud/"),
        "model": target.served_name,
        "state": "on" if target.off is None else "starting" if target.starting else "off",
        "why": target.off or "",
        "context_tokens": target.context_tokens,
        "input_usd_per_mtok": price.input_usd_per_mtok if price else None,
        "output_usd_per_mtok": price.output_usd_per_mtok if price else None,
    }
