"""A stand-in for vLLM's server, run as a script: its flags, log lines and pages, none of its work, faults on request.

Also answers as the router does, so that one script serves every supervisor test.
"""

import argparse
import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

METRICS = """\
vllm:num_requests_running{engine="0"} 3.0
vllm:num_requests_waiting{engine="0"} 2.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:prompt_tokens_total{engine="0"} 10.0
vllm:generation_tokens_total{engine="0"} 20.0
vllm:num_preemptions_total{engine="0"} 1.0
vllm:cache_config_info{block_size="16",kv_cache_size_tokens="8192",num_gpu_blocks="512"} 1.0
"""


OPTIONS = argparse.Namespace()


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        models = {"data": [{"id": name} for name in OPTIONS.served_model_name]}
        pages = {"/metrics": METRICS, "/spillway/status": json.dumps({"engines": []}), "/v1/models": json.dumps(models)}
        self._send(pages.get(self.path, "ok"))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._send(json.dumps({"choices": [{"text": "!"}]}))

    def _send(self, text: str) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        return


def main() -> int:
    options = _options(OPTIONS)
    print("Starting to load model", flush=True)
    if options.end_with is not None:
        print("RuntimeError: told to end", flush=True)
        return int(options.end_with)
    if options.worker:
        _start_worker(options.worker)
    if options.hold:
        _hold(options.hold)
    if options.hang:
        signal.pause()
    if options.fail and not _fits(options.fits):
        print(options.fail.read_text(), flush=True)
        return 1
    if options.say:
        print(options.say.read_text(), flush=True)
    if options.wait_for:
        options.wait_for.read_bytes()
    server = ThreadingHTTPServer((options.host, options.port), Answers)
    print("Application startup complete", flush=True)
    server.serve_forever()
    return 0


def _options(into: argparse.Namespace) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--served-model-name", nargs="+", default=[])
    parser.add_argument("--end-with", type=int, help="end at once with this exit code")
    parser.add_argument(
        "--worker", type=Path, help="start a worker in a session of its own; its pid goes into this file"
    )
    parser.add_argument("--wait-for", type=Path, help="a FIFO that somebody must write to before this one serves")
    parser.add_argument("--say", type=Path, help="a file whose lines go to the log before it serves")
    parser.add_argument("--fail", type=Path, help="a file whose lines go to the log; then it ends with exit code 1")
    parser.add_argument("--fits", help="`max-model-len=64`: with --fail, fail only if that flag of its own is larger")
    parser.add_argument("--hold", nargs=2, help="a driver of ours and `UUID=BYTES`: take this GPU memory")
    parser.add_argument("--hang", action="store_true", help="say and do nothing more instead of serving")
    return parser.parse_known_args(namespace=into)[0]


def _fits(limit: str | None) -> bool:
    if limit is None:
        return False
    flag, _, most = limit.partition("=")
    return float(sys.argv[sys.argv.index(f"--{flag}") + 1]) <= float(most)


def _hold(words: list[str]) -> None:
    """As `nvml_double.hold`, which a script does not find."""
    home, held = words
    uuid, _, count = held.partition("=")
    (Path(home) / "processes" / str(os.getpid())).write_text(f"{uuid} {count}\n")


def _start_worker(pid_file: Path) -> None:
    if (pid := os.fork()) == 0:
        os.setsid()
        signal.pause()
        os._exit(0)
    with pid_file.open("a") as file:
        file.write(f"{pid}\n")


if __name__ == "__main__":
    sys.exit(main())
