"""What a long verb shows: whoever stops reading it stops nothing else."""

from __future__ import annotations

import subprocess
import sys

SPEAKS = """
import sys
from engines.terminal.progress import Show, SteadyConsole
with Show(SteadyConsole()) as show:
    show.note("begins")
    sys.stdin.readline()
    for number in range(3):
        show.note("x" * 100_000)
print("whole", file=sys.stderr)
"""


def test_a_start_goes_on_when_nobody_reads_it_any_more() -> None:
    command = [sys.executable, "-c", SPEAKS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as speaker:
        assert speaker.stdout is not None
        assert speaker.stdout.readline() == "begins\n"
        speaker.stdout.close()
        speaker.stdout = None
        _, said = speaker.communicate("\n", timeout=60)
    assert said == "whole\n"
    assert speaker.returncode == 0
