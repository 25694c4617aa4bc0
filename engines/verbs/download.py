"""`spillway download`."""

from __future__ import annotations

from engines.fetching import ensure_files
from engines.stack import asked, read_stack
from engines.terminal.progress import Show
from engines.verbs.options import Config, LockFile
from engines.verbs.said import console_for, our_errors


def run(config: Config = None, lock: LockFile = None) -> None:
    console = console_for()
    with our_errors(console):
        read = read_stack(asked(None, config, lock))
        with Show(console) as show:
            ensure_files(read.locked(), show)
        console.print("the files of all wanted models are there and verified.", highlight=False)
