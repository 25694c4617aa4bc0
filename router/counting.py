"""Counts tokens with models' own tokenizers, as a process of its own: a line of JSON in, a line of JSON out.

Loading a vocabulary holds Python's lock for up to a second, in which no stream of the router would go on. The only
importer of `tokenizers`. Ends when its input does.
"""

from __future__ import annotations

import sys
from typing import IO

import orjson
from tokenizers import Tokenizer


def main(lines: IO[bytes], answers: IO[bytes]) -> None:
    """`{"path": ..., "text": ...}` is answered by `{"tokens": ...}` or `{"error": ...}`."""
    known: dict[str, Tokenizer] = {}
    for line in lines:
        answers.write(orjson.dumps(answer(orjson.loads(line), known)) + b"\n")
        answers.flush()


def answer(asked: dict[str, str], known: dict[str, Tokenizer]) -> dict[str, int | str]:
    path = asked["path"]
    try:
        if path not in known:
            known[path] = Tokenizer.from_file(path)
        return {"tokens": len(known[path].encode(asked["text"], add_special_tokens=False).ids)}
    except Exception as error:
        # The library raises plain Exceptions, of a file that is missing as of one that it cannot read.
        return {"error": f"{path}: {error}"}


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
