"""Options that several verbs have, and what they ask for together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Profile = Annotated[str | None, typer.Option(help="cpu or gpu; the default follows the hardware")]
Config = Annotated[Path | None, typer.Option(help="stack.toml to use", dir_okay=False)]
LockFile = Annotated[Path | None, typer.Option("--lock", help="models.lock to use", dir_okay=False)]
