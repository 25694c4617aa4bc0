"""Common English words: for servers that do not show their vocabulary, and where there is no tokenizer at all.

All are common enough to be one token of any large vocabulary; those that are not are found out.
"""

from __future__ import annotations

from pathlib import Path

COMMON = tuple(Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split())
