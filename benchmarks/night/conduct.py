"""How a fake engine of the stage behaves from its next start on: a small file that each start reads. Pure but for that.

It must not know why.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Conduct:
    """`ends_with`: it dies at once with this exit code. `is_mute`: it starts, and then says and does nothing more.

    `double`: the folder of the driver's double, where it says that it holds `held_bytes` on each GPU that it was given.
    """

    load_s: float = 0.5
    ends_with: int | None = None
    is_mute: bool = False
    ignores_term: bool = False
    step_ms: float = 10.0
    prefill_tokens_per_s: float = 20_000.0
    double: str | None = None
    held_bytes: int = 0

    def write(self, path: Path) -> None:
        """Whole or not at all: an engine may start at this moment."""
        new = path.with_name(f"{path.name}.new")
        new.write_text(json.dumps(asdict(self)), encoding="utf-8")
        os.replace(new, path)


def read_conduct(path: Path) -> Conduct:
    """Raises OSError or ValueError where there is none."""
    return Conduct(**json.loads(path.read_text(encoding="utf-8")))
