"""Answers whose tokens are numbered, so that a client can prove that none was lost, doubled or moved.

Pure. Token 7 is ` w0007`, five letters and digits after a space; the text of an answer is its tokens in a row.
"""

from __future__ import annotations

from functools import cache

MAX_TOKENS = 8192
PROMPT_TOKENS = 7
FIRST = b" w0000"
# Begins every token of a short answer, and nothing else in it.
MARK = b" w0"


@cache
def text(tokens: int) -> str:
    """The text of an answer of so many tokens. Raises ValueError beyond MAX_TOKENS."""
    if not 0 <= tokens <= MAX_TOKENS:
        raise ValueError(f"An answer has 0 to {MAX_TOKENS} numbered tokens, not {tokens}.")
    return "".join(word(number) for number in range(tokens))


def word(number: int) -> str:
    """One token."""
    return f" w{number:04d}"


def numbers(said: str) -> list[int] | None:
    """The numbers of the tokens in a text, None where it is anything else."""
    words = said.split(" ")
    if words[0] or any(len(each) != len(word(0)) - 1 or each[0] != "w" or not each[1:].isdigit() for each in words[1:]):
        return None
    return [int(each[1:]) for each in words[1:]]
