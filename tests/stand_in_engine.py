"""A stand-in for vLLM's server, run as a script: its flags, log lines and pages, none of its work, faults on request.

Also answers as the router does, so that one script serves every supervisor test. POST /stand-in changes how it behaves
while it runs; see `Behaviour`.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BUSY = """\
vllm:num_requests_running{engine="0"} 3.0
vllm:num_requests_waiting{engine="0"} 2.0
"""
STEPS = """\
vllm:num_requests_running{{engine="0"}} {running}
vllm:num_requests_waiting{{engine="0"}} 0.0
vllm:iteration_tokens_total_count{{engine="0"}} {steps}
"""
METRICS = """\
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:prompt_tokens_total{engine="0"} 10.0
vllm:generation_tokens_total{engine="0"} 20.0
vllm:num_preemptions_total{engine="0"} 1.0
vllm:cache_config_info{block_size="16",kv_cache_size_tokens="8192",num_gpu_blocks="512"} 1.0
"""
TICK_S = 0.02
# As with vLLM, whose tests this stands for: what runs has that long after TERM.
SHUTDOWN_S = 10.0


@dataclass
class Behaviour:
    """What it does, changed by the keys of a JSON object sent to /stand-in. `token_s`: how long each token takes;
    `prefill_s`: how long the first one takes in addition; `is_frozen`: no token is made any more, while its pages still
    answer; `is_sick`: /health says 503. The lines of `say` go to the log."""

    token_s: float = 0.0
    prefill_s: float = 0.0
    is_frozen: bool = False
    is_sick: bool = False
    is_asleep: bool = False
    is_ending: bool = False
    steps: int = 0
    running: int = 0


OPTIONS = argparse.Namespace()
STATE = Behaviour()
LOCK = threading.Lock()


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        models = {"data": [{"id": name} for name in OPTIONS.served_model_name]}
        load = STEPS.format(running=STATE.running, steps=STATE.steps) if OPTIONS.steps else BUSY
        pages = {
            "/metrics": load + METRICS,
            "/spillway/status": json.dumps({"engines": []}),
            "/v1/models": json.dumps(models),
            "/is_sleeping": json.dumps({"is_sleeping": STATE.is_asleep}),
        }
        is_sick = STATE.is_sick and self.path == "/health"
        self._send(pages.get(self.path, "ok"), 503 if is_sick else 200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        route = self.path.partition("?")[0]
        if route in ("/sleep", "/wake_up"):
            STATE.is_asleep = route == "/sleep"
            self._send("{}")
        elif route == "/stand-in":
            changes = json.loads(body)
            for line in changes.pop("say", []):
                print(line, flush=True)
            for key, value in changes.items():
                setattr(STATE, key, value)
            self._send("{}")
        else:
            self._complete(json.loads(body).get("max_tokens", 1))

    def _complete(self, tokens: int) -> None:
        """As vLLM does: one that is asked while it ends answers 200 with nothing in it."""
        if STATE.is_ending:
            _note("refused")
            self._send(json.dumps({"choices": [{"text": "", "finish_reason": "abort"}]}))
            return
        with LOCK:
            STATE.running += 1
        try:
            _wait(STATE.prefill_s)
            for _ in range(tokens):
                _wait(STATE.token_s)
                with LOCK:
                    STATE.steps += 1
        finally:
            with LOCK:
                STATE.running -= 1
        self._send(json.dumps({"choices": [{"text": "!" * tokens, "finish_reason": "length"}]}))

    def _send(self, text: str, status: int = 200) -> None:
        try:
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())
        except ConnectionError:
            return

    def log_message(self, *_: object) -> None:
        return


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # As vLLM binds: whoever comes second to a port fails.
    allow_reuse_port = False


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
    return _serve(options)


def _serve(options: argparse.Namespace) -> int:
    server = Server((options.host, options.port), Answers)
    if options.steps:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=_end, args=(server,)).start())
    if options.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("Application startup complete", flush=True)
    server.serve_forever(poll_interval=TICK_S)
    return 0


def _end(server: ThreadingHTTPServer) -> None:
    """What runs is finished or, after a while, cut off; meanwhile the server answers on."""
    STATE.is_ending = True
    deadline_s = time.monotonic() + SHUTDOWN_S
    while STATE.running and time.monotonic() < deadline_s:
        time.sleep(TICK_S)
    for _ in range(STATE.running):
        _note("aborted")
    server.shutdown()


def _wait(seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s or STATE.is_frozen:
        time.sleep(TICK_S)


def _note(word: str) -> None:
    if OPTIONS.aborts:
        with OPTIONS.aborts.open("a") as file:
            file.write(f"{word}\n")


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
    parser.add_argument("--steps", action="store_true", help="tell what it really has, count steps, end as vLLM does")
    parser.add_argument("--ignore-term", action="store_true", help="end only when killed")
    parser.add_argument("--aborts", type=Path, help="a file for a line on every request that it cuts off or refuses")
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
