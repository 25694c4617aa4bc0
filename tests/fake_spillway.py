"""A program that looks like `spillway` to those who start stacks: `up`, `down`, `status --json`, with a fake engine.

`quantization` in the stack file makes `up` misbehave: `hang` waits for an interrupt, another word fails with that word.
A file `stuck` in the home makes `down` fail.
"""

from __future__ import annotations

import sys
from pathlib import Path

PROGRAM = """#!{python}
import json, os, signal, subprocess, sys, time, tomllib
from pathlib import Path

home = Path(os.environ["SPILLWAY_HOME"])
engine = home / "engine.json"
if sys.argv[1] == "up":
    model = tomllib.loads(Path(sys.argv[3]).read_text())["models"]["smoke"]
    if "quantization" in model:
        print("smoke on cpu: launching (2 s)")
        if model["quantization"] == "hang":
            signal.signal(signal.SIGINT, lambda *_: (home / "interrupted").touch() or sys.exit(130))
            (home / "hanging").touch()
            signal.pause()
        print("engine smoke failed: " + model["quantization"])
        print("\\nLast lines of the log:\\nError: something else")
        sys.exit(1)
    words = ["--model", "smoke", "--step-ms", "40", "--max-num-seqs", str(model["max_num_seqs"])]
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "engine", *words],
        stdout=subprocess.PIPE, text=True, start_new_session=True, cwd={checkout!r},
    )
    url = child.stdout.readline().split(" at ")[-1].strip().removesuffix("/v1")
    engine.write_text(json.dumps({{"url": url, "pid": child.pid}}))
elif sys.argv[1] == "status":
    if not engine.exists():
        sys.exit(3)
    seen = {{"model": "smoke", "url": json.loads(engine.read_text())["url"]}}
    print(json.dumps({{"snapshot": {{"engines": [seen]}}}}))
elif (home / "stuck").exists():
    sys.exit(1)
else:
    (home / "down").touch()
    if engine.exists():
        pid = json.loads(engine.read_text())["pid"]
        os.kill(pid, signal.SIGTERM)
        while Path(f"/proc/{{pid}}").exists():
            time.sleep(0.01)
"""


def fake_spillway(folder: Path) -> Path:
    """The program, in this folder."""
    program = folder / "spillway"
    program.write_text(PROGRAM.format(python=sys.executable, checkout=str(Path(__file__).parents[1])))
    program.chmod(0o755)
    return program
