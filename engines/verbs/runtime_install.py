"""`spillway runtime install`."""

from __future__ import annotations

from typing import Annotated

import typer

from engines import runtime as runtimes
from engines import up
from engines.gpus.nvml import read_gpus
from engines.stack import StackError
from engines.terminal.progress import Show
from engines.verbs.said import console_for, our_errors


def run(name: Annotated[str | None, typer.Argument(help="the default follows the hardware")] = None) -> None:
    console = console_for()
    with our_errors(console):
        if name not in (None, *runtimes.RUNTIMES):
            raise StackError(f"no runtime is called {name}; there are: {', '.join(runtimes.RUNTIMES)}.")
        chosen = runtimes.runtime(name or runtimes.choose(len(read_gpus().seen), None))
        with Show(console) as show:
            up.install(chosen, show)
        console.print(f"{chosen.name} {chosen.version} is in {chosen.root}", highlight=False, soft_wrap=True)
