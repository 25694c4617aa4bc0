"""What Ollama answers, read: its list of models, what it has loaded, the lines of a pull, an error. Pure.

Ollama 0.33: docs/api.md; server/routes.go, PsHandler, PullHandler; api/types.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engines.plan import GIB

SAMPLE = re.compile(r"^llamacpp:(\w+)(?:\{.*\})? ([^\s]+)", re.MULTILINE)
# Each call of llama_decode, and each token, because those of speculative decoding are not among the calls.
STEP_COUNTS = ("n_decode_total", "tokens_predicted_total")
# A tensor or two may stay on the CPU by design; llama.cpp then still counts all layers as on the GPU.
WHOLE = 0.99
# Words of errors that another try does not mend.
PERMANENT = (
    "incompatible with your version of Ollama",
    "unknown model architecture",
    "unsupported model",
    "not supported by your version",
    "requires MLX",
    "newer version of Ollama",
    "file does not exist",
    "unauthorized",
    "invalid model name",
)


class OllamaAnswerError(ValueError):
    """Not an answer that Ollama gives."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is loaded. `size` is all that it takes, `size_vram` what of it is on GPUs, in bytes."""

    name: str
    digest: str
    size: int
    size_vram: int
    context_tokens: int | None

    @property
    def on_gpu(self) -> float:
        """The share that is on GPUs."""
        return self.size_vram / self.size if self.size > 0 else 0.0

    @property
    def is_whole(self) -> bool:
        return self.on_gpu >= WHOLE


@dataclass(frozen=True, slots=True)
class Pulled:
    """How far a pull is: bytes done and known of, by digest."""

    blobs: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    status: str = ""
    error: str | None = None

    @property
    def is_done(self) -> bool:
        return self.status == "success"

    def words(self, name: str) -> str:
        done, total = (sum(each[part] for each in self.blobs.values()) for part in (0, 1))
        if not self.status.startswith("pulling ") or not total:
            return f"fetching {name}: {self.status}"
        return f"fetching {name}: {done / GIB:.1f} of {total / GIB:.1f} GiB"


def after(pulled: Pulled, line: str) -> Pulled:
    """One more line of a pull. Raises OllamaAnswerError for one that is none."""
    told = _table(line)
    if "error" in told:
        return Pulled(pulled.blobs, pulled.status, str(told["error"]))
    blobs = dict(pulled.blobs)
    if "digest" in told:
        blobs[str(told["digest"])] = (int(told.get("completed", 0)), int(told.get("total", 0)))
    return Pulled(blobs, str(told.get("status", "")))


def digest_in(tags: str, name: str) -> str | None:
    """The digest of a model that is there, by the text of /api/tags; None if it is not there."""
    return next((str(each.get("digest", "")) for each in _models(tags) if same_name(each, name)), None)


def loaded_in(ps: str, name: str) -> Loaded | None:
    """The model as it is loaded, by the text of /api/ps; None if it is not."""
    found = next((each for each in _models(ps) if same_name(each, name)), None)
    if found is None:
        return None
    try:
        context = found.get("context_length")
        return Loaded(
            name=name,
            digest=str(found["digest"]),
            size=int(found["size"]),
            size_vram=int(found.get("size_vram", 0)),
            context_tokens=int(context) if context else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise OllamaAnswerError(f"/api/ps lacks {error} of {name}") from error


def same_name(listed: Mapping[str, Any], name: str) -> bool:
    """Ollama keeps the letters' case of the one that came first (server/routes.go, getExistingName)."""
    return str(listed.get("name", "")).lower() == name.lower()


def sets_batch(show: str) -> bool:
    """Whether the model's own parameters name num_batch, by the text of /api/show."""
    lines = str(_table(show).get("parameters") or "").splitlines()
    return any(line.split()[:1] == ["num_batch"] for line in lines)


def steps_in(metrics: str) -> int | None:
    """How many steps a llama-server has made, by its /metrics (llama.cpp, tools/server/README.md); None: not told."""
    told = dict(SAMPLE.findall(metrics))
    if STEP_COUNTS[0] not in told:
        return None
    return int(sum(float(told.get(name, 0)) for name in STEP_COUNTS))


def counts_in(metrics: str) -> tuple[int, int]:
    """Prompt tokens computed and tokens made since it was loaded."""
    told = dict(SAMPLE.findall(metrics))
    return int(float(told.get("prompt_tokens_total", 0))), int(float(told.get("tokens_predicted_total", 0)))


def is_permanent(error: str) -> bool:
    """Whether another try would end with the same error."""
    return any(words in error for words in PERMANENT)


def _models(text: str) -> list[dict[str, Any]]:
    models = _table(text).get("models")
    if not isinstance(models, list) or not all(isinstance(each, dict) for each in models):
        raise OllamaAnswerError("the list of models is none")
    return models


def _table(text: str) -> dict[str, Any]:
    try:
        table = json.loads(text)
    except ValueError as error:
        raise OllamaAnswerError(f"not JSON: {text[:100]!r}") from error
    if not isinstance(table, dict):
        raise OllamaAnswerError(f"not an object: {text[:100]!r}")
    return table
