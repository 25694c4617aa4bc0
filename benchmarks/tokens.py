"""How far the router's estimate of a prompt's tokens is off, by kind of text, against real vocabularies.

Vocabularies are those that come with litellm (OpenAI's cl100k_base and o200k_base, Anthropic's of Claude 2), or the
files given. Texts are made here (English words, code of Python's own library, JSON, figures, logs, base64), or read
from a file of lines `{"kind": ..., "text": ...}`. Ratios are estimate by truth: below 1 it says too few.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import tiktoken
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from benchmarks.quantiles import quantile
from benchmarks.workload.vocabulary import COMMON
from router.length import ERROR, estimated_tokens

CHARACTERS = 4000
LEAST_CHARACTERS = 500
OPENAI = ("cl100k_base", "o200k_base")
FLAT_BYTES_PER_TOKEN = 4.0

Count = Callable[[str], int]


class Miss(NamedTuple):
    """One text by one vocabulary. `flat` is the estimate of four bytes a token; both by truth."""

    kind: str
    vocabulary: str
    bytes_per_token: float
    ratio: float
    flat: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--prompts", type=Path, metavar="FILE", help='lines of {"kind": ..., "text": ...}')
    parser.add_argument(
        "--tokenizer", type=Path, action="append", metavar="FILE", help="a tokenizer.json; may be given often"
    )
    parser.add_argument("--texts", type=int, default=60, help="so many of each kind at most (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")


def main(options: argparse.Namespace) -> int:
    """Print the tables. Raises ValueError, OSError."""
    counts = _given(options.tokenizer) if options.tokenizer else _shipped()
    texts = _read(options.prompts) if options.prompts else _made()
    misses = list(_misses(texts, counts, options.texts))
    if not misses:
        raise ValueError(f"no text has {LEAST_CHARACTERS} characters or more")
    console = Console(width=120)
    console.print(_table("kind of text", misses, lambda miss: miss.kind))
    console.print(_table("vocabulary", misses, lambda miss: miss.vocabulary))
    inside = sum(abs(1 - 1 / miss.ratio) <= ERROR for miss in misses) / len(misses)
    console.print(f"{inside:.1%} of all lie within the stated error of {ERROR:.0%} of the estimate")
    if options.json is not None:
        options.json.write_text(json.dumps([miss._asdict() for miss in misses], indent=1))
    return 0


def _misses(texts: Mapping[str, Sequence[str]], counts: Mapping[str, Count], most: int) -> Iterator[Miss]:
    for kind, wholes in texts.items():
        pieces = [piece for whole in wholes for piece in _pieces(whole)]
        random.Random(kind).shuffle(pieces)
        for piece in pieces[:most]:
            size, estimate = len(piece.encode()), estimated_tokens(piece)
            for vocabulary, count in counts.items():
                true = count(piece)
                yield Miss(kind, vocabulary, size / true, estimate / true, size / FLAT_BYTES_PER_TOKEN / true)


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), CHARACTERS):
        piece = text[start : start + CHARACTERS]
        if len(piece) >= LEAST_CHARACTERS:
            yield piece


def _table(heading: str, misses: Sequence[Miss], key: Callable[[Miss], str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(heading)
    for column in ("texts", "bytes/token", "ratio p5", "p50", "p95", "error p50", "p95", "flat: error p50", "p95"):
        table.add_column(column, justify="right")
    groups: dict[str, list[Miss]] = {}
    for miss in misses:
        groups.setdefault(key(miss), []).append(miss)
    for name, group in (*groups.items(), ("all", misses)):
        table.add_row(name, str(len(group)), *_figures(group))
    return table


def _figures(group: Sequence[Miss]) -> Iterable[str]:
    ratios, errors = [miss.ratio for miss in group], [abs(miss.ratio - 1) for miss in group]
    flats = [abs(miss.flat - 1) for miss in group]
    yield f"{quantile([miss.bytes_per_token for miss in group], 0.5):.2f}"
    yield from (f"{quantile(ratios, share):.2f}" for share in (0.05, 0.5, 0.95))
    yield from (f"{quantile(each, share):.1%}" for each in (errors, flats) for share in (0.5, 0.95))


def _given(paths: Iterable[Path]) -> dict[str, Count]:
    return {str(path): _counter(path) for path in paths}


def _counter(path: Path) -> Count:
    if not path.is_file():
        raise ValueError(f"--tokenizer {path}: there is no such file")
    tokenizer = Tokenizer.from_file(str(path))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _shipped() -> dict[str, Count]:
    """Those that litellm brings along, found without importing it. tiktoken would download them else."""
    found = find_spec("litellm")
    if found is None or found.origin is None:
        raise ValueError("litellm is not installed, whose vocabularies are used; give one with --tokenizer")
    folder = Path(found.origin).parent / "litellm_core_utils" / "tokenizers"
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    counts = {name: _openai(name) for name in OPENAI}
    return counts | {"claude 2": _counter(folder / "anthropic_tokenizer.json")}


def _openai(name: str) -> Count:
    encoding = tiktoken.get_encoding(name)
    return lambda text: len(encoding.encode(text, disallowed_special=()))


def _read(path: Path) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            texts.setdefault(str(row.get("kind", "text")), []).append(str(row["text"]))
        except (ValueError, KeyError, AttributeError) as error:
            raise ValueError(f'{path}, line {number}: expected {{"kind": ..., "text": ...}}') from error
    return texts


def _made() -> dict[str, list[str]]:
    """The same on every machine, but for Python's own library."""
    draw = random.Random(7)
    library = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    figures = [",".join(f"{draw.uniform(0, 10**6):.{draw.randint(0, 6)}f}" for _ in range(8)) for _ in range(2000)]
    rows = [{"id": draw.randint(1, 9999), "name": draw.choice(COMMON), "score": draw.random()} for _ in range(2000)]
    log = [
        f"2026-11-{draw.randint(1, 28):02d} INFO worker-{draw.randint(0, 9)} took {draw.random():.3f} s" for _ in rows
    ]
    return {
        "English words": [" ".join(draw.choice(COMMON) for _ in range(40_000))],
        "Python": [path.read_text(errors="replace") for path in library[:40]],
        "JSON": [json.dumps(rows)],
        "figures": ["\n".join(figures)],
        "logs": ["\n".join(log)],
        "base64": [base64.b64encode(draw.randbytes(60_000)).decode()],
    }
