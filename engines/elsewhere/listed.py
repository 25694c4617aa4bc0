"""What an OpenAI-compatible server that is none of ours says of itself: its models, its load, its slots. Pure: the text
of a page in, values out.

Sources: vLLM 0.33, entrypoints/openai/models (max_model_len); llama.cpp, tools/server/README.md (`/props`, `/metrics`),
whose newer builds tell nothing of the KV cache; the OpenAI API reference, "List models".
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from engines.kinds.vllm_metrics import MetricsError, read_load
from engines.snapshot import Load

LLAMA_SAMPLE = re.compile(r"^llamacpp:(\w+)(?:\{.*\})? ([^\s]+)", re.MULTILINE)
# A server that does not say how long its context is refuses what is too long by itself. (The router reckons alike.)
UNKNOWN_CONTEXT_TOKENS = 1_000_000
# Names of the key for the context that a request may have, as servers spell it.
CONTEXT_KEYS = ("max_model_len", "context_length", "context_window", "n_ctx")
# Names by which a Spillway lets its clients leave the choice of a model to it: they are no models.
CHOOSE = frozenset({"auto", "smart-router"})
CHOOSE_BEGINNINGS = ("tier/", "task/")
SPILLWAY = "spillway"


class ListedError(ValueError):
    """A page that is not what it should be; the message says what came instead."""


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One model of `/v1/models`; the context is None where the server does not say."""

    name: str
    context_tokens: int | None
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Props:
    """What llama.cpp's server says in `/props`: the context of one slot, and how many there are."""

    context_tokens: int | None
    slots: int | None


def read_models(page: str) -> tuple[ListedModel, ...]:
    """The models of `/v1/models`. Raises ListedError for anything else, and for none."""
    try:
        listed = json.loads(page)["data"]
        models = [_model(each) for each in listed]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ListedError(f"GET /v1/models is no list of models: {page[:80]!r}") from error
    found = tuple(model for model in models if not _is_choice(model))
    if not found:
        raise ListedError("GET /v1/models lists no model: load one there")
    return found


def read_any_load(page: str, age_s: float) -> Load | None:
    """The load on a `/metrics` page of vLLM's or llama.cpp's, None on any other."""
    try:
        return read_load(page, age_s)
    except MetricsError:
        return _llama_load(page, age_s)


def read_props(page: str) -> Props:
    """Each part None where it is not told."""
    try:
        told = json.loads(page)
        settings = told.get("default_generation_settings") or {}
        return Props(_count(settings.get("n_ctx")), _count(told.get("total_slots")))
    except (ValueError, AttributeError):
        return Props(None, None)


def _model(raw: dict[str, Any]) -> ListedModel:
    facts = {**(raw.get("meta") or {}), **raw}
    told = (_count(facts.get(key)) for key in CONTEXT_KEYS)
    return ListedModel(str(raw["id"]), next(filter(None, told), None), str(raw.get("owned_by", "")))


def _is_choice(model: ListedModel) -> bool:
    return model.owner == SPILLWAY and (model.name in CHOOSE or model.name.startswith(CHOOSE_BEGINNINGS))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _llama_load(page: str, age_s: float) -> Load | None:
    """A capacity of 0 is one that is not told."""
    told = {found[1]: _number(found[2]) for found in LLAMA_SAMPLE.finditer(page)}
    running, waiting = told.get("requests_processing"), told.get("requests_deferred")
    if running is None or waiting is None:
        return None
    used, held = told.get("kv_cache_usage_ratio") or 0.0, told.get("kv_cache_tokens") or 0.0
    return Load(
        running=int(running),
        waiting=int(waiting),
        kv_used_fraction=used,
        kv_capacity_tokens=round(held / used) if used else 0,
        prompt_tokens_total=int(told.get("prompt_tokens_total") or 0),
        generation_tokens_total=int(told.get("tokens_predicted_total") or 0),
        preemptions_total=0,
        age_s=age_s,
    )


def _number(text: str) -> float | None:
    """None for what is no number of something: llama.cpp has written "nan" for a KV cache that it does not count."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
