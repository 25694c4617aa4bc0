"""What litellm is called with for an Ask at a deployment. Pure.

Only fields of the OpenAI API travel: a client's `api_base` or `api_key` in the body could send our key elsewhere.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from router.ask import Ask, Endpoint
from router.forward import EMBEDDING_FIELDS, OPENAI_FIELDS
from router.registry import Deployment

# The function of the SDK for each endpoint.
CALLS = {Endpoint.CHAT: "acompletion", Endpoint.COMPLETION: "atext_completion", Endpoint.EMBEDDING: "aembedding"}
# An answer hangs on them, so they go also where litellm's table says that the model does not know them: whether it does
# says `capabilities`, and a provider that does not refuses by itself. Other fields are left out there.
KEPT = ("tools", "tool_choice", "response_format")
# litellm leaves out "no second try" for them, and OpenAI's client would make two more, each after a pause.
RETRYING = {"sambanova": ("max_retries",)}
# litellm leaves images out for them without a word, though they speak OpenAI's format and have models that see: a
# request with an image goes there as to any server that speaks it. The address is that of litellm's own table.
BLIND = {"sambanova": "https://api.sambanova.ai/v1"}


def arguments(ask: Ask, deployment: Deployment, key: str, timeout_s: float) -> dict[str, Any]:
    """The keyword arguments of the call; it is tried once."""
    body = ask.body
    fields = EMBEDDING_FIELDS if ask.endpoint is Endpoint.EMBEDDING else OPENAI_FIELDS
    found = {field: value for field, value in body.items() if field in fields}
    found |= {"model": deployment.model, "api_key": key, "timeout": timeout_s, "max_retries": 0, "num_retries": 0}
    found["extra_headers"] = {"x-request-id": ask.request_id, "idempotency-key": _idempotency_key(ask)}
    kept = [field for field in KEPT if field in found] + list(RETRYING.get(deployment.kind, ()))
    if kept:
        found["allowed_openai_params"] = kept
    if body.get("tools"):
        # Else litellm looks for tools of its proxy in them, with a package that only the proxy installs.
        found["_skip_mcp_handler"] = True
    if deployment.base_url is not None:
        found["api_base"] = deployment.base_url
    if "vision" in ask.needs and deployment.kind in BLIND:
        found["model"] = "openai/" + deployment.model.partition("/")[2]
        found.setdefault("api_base", BLIND[deployment.kind])
    if ask.stream:
        found |= {"stream": True, "stream_options": {"include_usage": True}}
    return found


def _idempotency_key(ask: Ask) -> str:
    """The same for every try of this request, and another for another request whose client reuses an id."""
    return blake2b(ask.request_id.encode() + ask.raw, digest_size=16).hexdigest()
