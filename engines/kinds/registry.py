"""Which kind an engine is of."""

from __future__ import annotations

from collections.abc import Mapping

from engines.kinds.kind import Kind
from engines.kinds.ollama import OLLAMA
from engines.kinds.vllm import VLLM
from engines.plan import EnginePlan

KINDS: Mapping[str, Kind] = {VLLM.name: VLLM, OLLAMA.name: OLLAMA}


def kind_of(plan: EnginePlan) -> Kind:
    """The kind of a planned engine. Raises KeyError for one that this version does not know."""
    return KINDS[plan.kind]
