"""`spillway whatif`: becomes `python -m benchmarks whatif`, told the locked models and the engines of the plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from engines.models.lock import LockedModel
from engines.models.locked import locked_models
from engines.plan import EnginePlan
from engines.planning import planned
from engines.snapshot import models_to_json, state_home
from engines.stack import Asked, asked, check_router, read_stack
from engines.verbs.become import become
from engines.verbs.options import Config, LockFile, Profile
from engines.verbs.said import console_for, our_errors


def run(
    context: typer.Context,
    profile: Profile = None,
    config: Config = None,
    lock: LockFile = None,
    gpus: Annotated[str | None, typer.Option(help="as if these GPUs were here: 8xH100-80GB")] = None,
) -> None:
    with our_errors(console_for()):
        wish = replace(asked(profile, config, lock), gpus=gpus, may_declare=True)
        told = [] if is_about_no_stack(context.args) else _told(wish)
    # The user's own options come last, so that they count.
    become("benchmarks", [str(context.info_name), *told, *context.args])


def is_about_no_stack(words: Sequence[str]) -> bool:
    """A trace needs none of ours, and neither does who wants to know which options there are."""
    return any(word.partition("=")[0] in {"--trace", "--help", "-h"} for word in words)


def _told(wish: Asked) -> list[str]:
    stack = read_stack(wish)
    found = planned(stack, check_router(wish), state_home())
    places = [_place(engine, stack.lock.models[engine.model]) for engine in found.plan.engines]
    models = models_to_json(locked_models(wish.lock))
    return ["--config", str(wish.config), "--models", models, "--plan", json.dumps(places)]


def _place(engine: EnginePlan, model: LockedModel) -> dict[str, Any]:
    """What the speed and the room of an engine depend on; `benchmarks.whatifs.place` reads it."""
    return {
        "name": engine.name,
        "model": engine.model,
        "gpu": engine.gpu_name,
        "gpus": len(engine.gpu_uuids),
        "kv_tokens": engine.sum.kv_tokens,
        "max_sequences": engine.shape.max_num_seqs,
        "max_batched_tokens": engine.shape.max_num_batched_tokens,
        "layers": model.architecture.layers,
        "hidden_size": model.architecture.hidden_size,
        "quantization": engine.shape.quantization or model.quantization,
        "is_alternate": engine.is_alternate,
    }
