"""Whose JSON is it? Ours, `vllm bench serve`'s or guidellm's; anything else is refused with a sentence. Pure."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.drive.sample import Sample
from benchmarks.report import imported_guidellm, imported_vllm
from benchmarks.report.document import Document, read

KNOWN = "of this harness (--json), `vllm bench serve --save-result`, or guidellm's JSON"


def document_in(raw: bytes, name: str) -> tuple[Document, dict[str, list[Sample]]]:
    """The document, and the samples that other tools keep in the same file. Raises ValueError naming the file."""
    found = _objects(raw, name)
    if all(imported_vllm.is_one(each) for each in found):
        return imported_vllm.document_of(found, name)
    first = found[0]
    if len(found) == 1 and imported_guidellm.is_one(first):
        return imported_guidellm.document_of(first, name)
    if "schema" in first:
        return read(raw, name), {}
    raise ValueError(f"{name} is no report that is known here: give one {KNOWN}.")


def _objects(raw: bytes, name: str) -> list[dict[str, Any]]:
    """One object, or one in each line: that is how results are appended."""
    # The standard library's reader, because other tools write NaN where they have no number.
    try:
        found = [json.loads(raw)]
    except ValueError as error:
        try:
            found = [json.loads(line) for line in raw.splitlines() if line.strip()]
        except ValueError:
            raise ValueError(f"{name} is not JSON ({error}): give a report {KNOWN}.") from error
    if not found or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"{name} holds no JSON object: give a report {KNOWN}.")
    return found
