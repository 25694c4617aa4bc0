"""Does a prompt fit a target's context, as far as anybody can know here? Pure.

Three steps, each only where the one before leaves it open: bytes (no text packs more into a token, or less), an
estimate by kinds of characters, the model's own tokenizer. What is open even then the engine decides, which counts
again and refuses; Ollama cuts without a word, so there a prompt must fit at its longest.
"""

from __future__ import annotations

from router.ask import Ask
from router.routing.fleet import OLLAMA, Target

# No vocabulary in use packs more text than this into a token on average: a prompt that is too long even so is too
# long. At the other end a token is a byte at least: vocabularies know every byte, and single figures between commas
# have no more (random base64 1.4, C headers 1.26).
MOST_BYTES_PER_TOKEN = 8.0
# Ollama 0.33 cuts a prompt that is too long without a word. Until it is measured, what it took so far says its length.
OLLAMA_CONTEXT_SHARE = 0.9
# An answer is not expected to fill more of a context than this.
ANSWER_SHARE = 0.25
# vLLM refuses a bound of the answer that goes beyond its context; others answer until it is full.
VLLM = "vllm"


def fits(ask: Ask, target: Target) -> bool:
    """Whether prompt and answer may fit; at an Ollama, whether they do."""
    if target.kind == OLLAMA:
        return _is_safe(ask, target)
    return least_tokens(ask, target) + _answer_tokens(ask, target) <= target.context_tokens


def least_tokens(ask: Ask, target: Target) -> float:
    """What the prompt has at the very least; at Ollama as is learned, because nobody counts it again there."""
    for length in ask.lengths:
        if not length.models or not length.models.isdisjoint(target.models):
            return length.least
    return ask.prompt_bytes / (target.pace.bytes_per_token if target.kind == OLLAMA else MOST_BYTES_PER_TOKEN)


def is_open(ask: Ask, target: Target) -> bool:
    """Whether a closer look may change what `fits` says."""
    left = target.context_tokens - _answer_tokens(ask, target)
    for length in ask.lengths:
        if not length.models or not length.models.isdisjoint(target.models):
            return not length.models and length.least <= left < length.most
    return ask.prompt_bytes / MOST_BYTES_PER_TOKEN <= left < ask.prompt_bytes


def is_cramped(ask: Ask, target: Target) -> bool:
    """Whether it takes the prompt and has no room left for an answer as they usually are, at most a part of its
    context. Such an answer would end in the middle, with `finish_reason` "length"."""
    for length in ask.lengths:
        if not length.models or not length.models.isdisjoint(target.models):
            answer_tokens = min(ask.max_tokens or target.pace.answer_tokens, ANSWER_SHARE * target.context_tokens)
            return (length.least + length.most) / 2 + answer_tokens > target.context_tokens
    return False


def _is_safe(ask: Ask, target: Target) -> bool:
    for length in ask.lengths:
        if not length.models or not length.models.isdisjoint(target.models):
            return length.most <= target.context_tokens
    return ask.prompt_bytes / target.pace.bytes_per_token <= OLLAMA_CONTEXT_SHARE * target.context_tokens


def _answer_tokens(ask: Ask, target: Target) -> int:
    """Room that must be left for the answer: the client's own bound where the engine insists on it."""
    return ask.max_tokens or 0 if target.kind == VLLM else 0
