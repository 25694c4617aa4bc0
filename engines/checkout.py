"""Where the files of this checkout are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def default_config() -> Path:
    return ROOT / "compose" / "stack.toml"


def default_lock() -> Path:
    return ROOT / "models.lock"
