"""How many tokens a text has, without the vocabulary of the model: an estimate by kinds of characters. Pure."""

from __future__ import annotations

import msgspec

# Tokens for each character of a kind, fitted by least squares of the relative error (`python -m benchmarks tokens` has
# the kinds of text and measures it anew) to three vocabularies: cl100k_base and o200k_base of OpenAI's tiktoken and the
# one that Anthropic published for Claude 2. English words come out at about four letters and a half a token.
KINDS: tuple[tuple[bytes, float], ...] = (
    (b"abcdefghijklmnopqrstuvwxyz", 0.236),
    (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 0.554),
    (b"0123456789", 0.721),
    (b" \t", 0.032),
    (b"\r\n", 0.057),
    (b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 0.514),
    # Of characters outside ASCII the first byte alone is counted. Accented Latin, Cyrillic, others of two bytes;
    # Chinese and Japanese, Korean, others of three; emoji.
    (bytes(range(0xC2, 0xC6)), 1.29),
    (bytes((0xD0, 0xD1)), 0.42),
    (bytes((*range(0xC6, 0xD0), *range(0xD2, 0xE0))), 0.6),
    (bytes(range(0xE3, 0xEA)), 0.87),
    (bytes(range(0xEA, 0xEE)), 0.95),
    (bytes((0xE0, 0xE1, 0xE2, 0xEE, 0xEF)), 1.02),
    (bytes(range(0xF0, 0xF5)), 1.41),
)
# 95 of 100 texts of 4,000 characters, half of which were not fitted to, lie within this share of the estimate, for
# each of the three vocabularies. What has few words and no spaces (base64) has up to 1.6 times as many tokens.
ERROR = 0.35
# Where images are, the rest is unknown too: nobody knows here what a model makes of one.
PER_MESSAGE_TOKENS = 8
PER_PROMPT_TOKENS = 64


class Length(msgspec.Struct, frozen=True):
    """A prompt has from `least` to `most` tokens: `models` whose tokenizer counted them; empty: any, estimated."""

    least: int
    most: int
    models: frozenset[str] = frozenset()


def estimated_tokens(text: str) -> float:
    """Without what a chat template adds. Takes about 5 ns a byte."""
    data = text.encode(errors="replace")
    size = len(data)
    # What is taken out by `translate` is counted by what is left: several times as fast as a look at each character.
    return sum([weight * (size - len(data.translate(None, kind))) for kind, weight in KINDS])


def estimated_length(text: str, messages: int) -> Length:
    """With its error, and what a template may add at most: `PER_MESSAGE_TOKENS` a message, and `PER_PROMPT_TOKENS`."""
    tokens = estimated_tokens(text)
    return Length(round(tokens * (1 - ERROR)), round(tokens * (1 + ERROR)) + added_tokens(messages))


def counted_length(tokens: int, messages: int, models: frozenset[str]) -> Length:
    """Of a text whose tokens the models' own tokenizer has counted, the template's tokens excepted."""
    return Length(tokens, tokens + added_tokens(messages), models)


def added_tokens(messages: int) -> int:
    """What a template adds at most: role and end marks of each message (Llama 3 has 5), and its own first words."""
    return PER_PROMPT_TOKENS + PER_MESSAGE_TOKENS * messages
