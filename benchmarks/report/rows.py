"""One line of JSON per request, compressed, in a file beside the report: what every figure can be computed from again.

The lines are Samples, field by field; times in whole microseconds of seconds, as finely as a clock can tell here.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec

from benchmarks.drive.sample import Sample

SUFFIX = ".rows.jsonl.gz"
# One microsecond: what is finer is noise, and would double the size of the file.
DECIMALS = 6
LEVEL = 5


def write(path: Path, samples: Iterable[Sample]) -> None:
    """Write them all, in their order; an existing file is replaced."""
    raw = msgspec.json.Encoder().encode_lines([_rounded(sample) for sample in samples])
    # No time of writing inside: the same samples give the same file.
    path.write_bytes(gzip.compress(raw, LEVEL, mtime=0))


def read(path: Path) -> list[Sample]:
    """The inverse of `write`. Raises ValueError that names file and line, OSError where there is none."""
    packed = path.read_bytes()
    try:
        raw = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged or is no gzip file: {error}. Measure again, or copy it again.") from error
    decoder = msgspec.json.Decoder(Sample)
    samples = []
    for number, line in enumerate(raw.splitlines(), 1):
        try:
            samples.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            raise ValueError(f"{path}, line {number}: not a measured request: {error}") from error
    return samples


def _rounded(sample: Sample) -> Sample:
    return replace(
        sample,
        scheduled_s=round(sample.scheduled_s, DECIMALS),
        sent_s=round(sample.sent_s, DECIMALS),
        ended_s=round(sample.ended_s, DECIMALS),
        first_s=None if sample.first_s is None else round(sample.first_s, DECIMALS),
        last_s=None if sample.last_s is None else round(sample.last_s, DECIMALS),
        gaps_s=tuple(round(gap_s, DECIMALS) for gap_s in sample.gaps_s),
    )
