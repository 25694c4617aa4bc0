"""Where a long run is to write what it finds."""

from __future__ import annotations

import os
from pathlib import Path


def check_place(file: Path | None) -> None:
    """Before a long run: whether the file can be written. Raises OSError that names it."""
    if file is not None and (file.is_dir() or not os.access(file.parent, os.W_OK)):
        what = "is a folder" if file.is_dir() else "is in no folder that one can write to"
        raise OSError(f"{file} {what}; name another file")
