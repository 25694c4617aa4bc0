"""Runs every relay of this folder through the relay yardstick, with direct and nginx in the same run.

    python -m benchmarks.choices.measure YARDSTICK [--only NAME,...] [--keep FILE.json] [--rounds 3 --scale 0.3 ...]

YARDSTICK is the folder with run.sh, bench.py and peers.json; what is not known here goes to run.sh. Each relay gets an
environment of its own, made by uv from its header. Prints one line of a Markdown table a relay.
Needs uv, nginx, a C compiler, two cores.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
RELAYS = {
    "uvicorn h11": "server_uvicorn --http h11",
    "uvicorn httptools": "server_uvicorn",
    "uvicorn httptools Starlette": "server_uvicorn --app starlette",
    "uvicorn httptools FastAPI": "server_uvicorn --app fastapi",
    "hypercorn asyncio": "server_hypercorn --loop asyncio",
    "hypercorn uvloop": "server_hypercorn --loop uvloop",
    "granian": "server_granian",
    "aiohttp.web": "server_aiohttp",
    "client httpx": "client_httpx",
    "client httpx2": "client_httpx2",
    "client niquests": "client_niquests",
    "client pyqwest": "client_pyqwest",
    "client protocol": "client_protocol",
    "protocols in uvicorn": "server_uvicorn_protocol",
    "protocols alone": "server_protocol",
}
ALWAYS = ["direct", "nginx"]


def interpreter(script: str) -> str:
    """The Python of the environment that the script's header asks for, made where it is missing."""
    path = str(FOLDER / f"{script}.py")
    subprocess.run(["uv", "sync", "-q", "--script", path], check=True)
    found = subprocess.run(["uv", "python", "find", "--script", path], check=True, capture_output=True, text=True)
    return found.stdout.strip()


def peers(names: list[str]) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(names):
        script, *options = RELAYS[name].split()
        command = f"{interpreter(script)} -m benchmarks.choices.{script} {' '.join(options)}"
        entries[name] = {"port": 100 + number, "start": f"cd {ROOT} && exec {command}"}
    return entries


def run(yardstick: Path, names: list[str], arguments: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "yardstick"
        shutil.copytree(yardstick, copy)
        listed = json.loads((copy / "peers.json").read_text()) | peers(names)
        (copy / "peers.json").write_text(json.dumps(listed))
        out = copy / "results" / "choices.json"
        subprocess.run(
            [
                str(copy / "run.sh"),
                "--with",
                ",".join(ALWAYS + names),
                "--out",
                str(out),
                "--scenarios",
                "bcd",
                *arguments,
            ],
            check=True,
        )
        kept: dict[str, Any] = json.loads(out.read_text())
        return kept


def added(kept: list[dict[str, Any]], runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of both, the new ones as later rounds: each is compared with the direct one of its own run."""
    later = 1 + max((one["round"] for one in kept), default=-1)
    return kept + [one | {"round": one["round"] + later} for one in runs]


def clean(runs: list[dict[str, Any]], peer: str, scenario: str) -> list[dict[str, Any]]:
    """The undisturbed rounds of a relay where there are any, else all of them."""
    rounds = [one for one in runs if one["peer"] == peer and one["scenario"] == scenario]
    return [one for one in rounds if not one["noisy"]] or rounds


def figures(runs: list[dict[str, Any]], peer: str) -> Iterator[str]:
    b, c, d = (clean(runs, peer, scenario) for scenario in "bcd")
    direct = {one["round"]: one["ttft_us"] for one in runs if one["peer"] == "direct" and one["scenario"] == "d"}
    yield middle(b, lambda one: 1e6 * one["router_cpu"] / one["rps"], ".0f")
    yield middle(b, lambda one: one["rps"], ",.0f")
    yield middle(b, lambda one: one["lat_us"]["p99"] / 1e3, ".1f")
    yield middle(c, lambda one: one["tokens_s"], ",.0f")
    yield middle(c, lambda one: one["events_per_read"], ".1f")
    yield middle(d, lambda one: 1e6 * one["router_cpu"] / one["tokens_s"], ".1f")
    yield middle(d, lambda one: (one["ttft_us"]["p50"] - direct[one["round"]]["p50"]) / 1e3, ".1f")
    yield middle(d, lambda one: (one["ttft_us"]["p99"] - direct[one["round"]]["p99"]) / 1e3, ".1f")
    yield middle(d, lambda one: one["rss_mb"], ".0f")
    yield str(sum(one["bad"] + one["unfinished"] for one in b + c + d))


def middle(rounds: list[dict[str, Any]], figure: Callable[[dict[str, Any]], float], form: str) -> str:
    """The median; a tilde before it says that something else took part of the machine in every round."""
    if not rounds:
        return "-"
    mark = "~" if rounds[0]["noisy"] else ""
    return mark + format(median(figure(one) for one in rounds), form)


HEADS = (
    "relay|CPU us a request|requests/s|p99 ms|tokens/s, no gap|events a read|CPU us a token, 20 ms gap"
    "|added TTFT p50 ms|p99 ms|MB|incomplete"
)


def table(runs: list[dict[str, Any]]) -> str:
    lines = [f"|{HEADS}|", "|---" * (HEADS.count("|") + 1) + "|"]
    for peer in dict.fromkeys(one["peer"] for one in runs):
        lines.append("|" + "|".join([peer, *figures(runs, peer)]) + "|")
    return "\n".join(lines)


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form, allow_abbrev=False)
    parser.add_argument("yardstick", type=Path)
    parser.add_argument("--only", help="a comma list of relays: " + ", ".join(RELAYS))
    parser.add_argument("--keep", type=Path, help="add every run to this JSON file, and print the table of all in it")
    options, arguments = parser.parse_known_args()
    names = options.only.split(",") if options.only else list(RELAYS)
    kept = run(options.yardstick, names, arguments)
    if options.keep:
        before = json.loads(options.keep.read_text())["runs"] if options.keep.exists() else []
        kept["runs"] = added(before, kept["runs"])
        options.keep.write_text(json.dumps(kept))
    print(table(kept["runs"]))


if __name__ == "__main__":
    main()
