"""A stand-in for the llama-server that Ollama starts for each loaded model: a process of its own, without any tie to
its parent's life, that holds the memory of the model.

Says on its log what Ollama reads there, and on /metrics, if LLAMA_ARG_ENDPOINT_METRICS asks for it, what llama.cpp's
server does (tools/server). Faults are switched by the folder STAND_IN_OLLAMA; see stand_in_ollama.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def folder() -> Path:
    """Where switches are read and requests are written down."""
    return Path(os.environ["STAND_IN_OLLAMA"])


def switches() -> dict[str, Any]:
    """What the test has switched on, as it is now."""
    path = folder() / "switches.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def pass_gate(name: str) -> None:
    """Wait at a FIFO, if the test has switched that gate on, until somebody writes to it."""
    if gate := switches().get(name):
        Path(gate).read_bytes()


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(200, '{"status":"ok"}')
        elif self.path == "/metrics" and os.environ.get("LLAMA_ARG_ENDPOINT_METRICS") == "1":
            self._send(200, self.server.metrics())
        else:
            self._send(501, '{"error":{"message":"This server does not support metrics endpoint."}}')

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.begin()
        try:
            pass_gate("reply_gate")
            self.send_response(200)
            self.send_header("connection", "close")
            self.end_headers()
            for number in range(int(asked["n_predict"])):
                self.server.step()
                self.wfile.write(json.dumps({"content": f"word{number} ", "stop": False}).encode() + b"\n")
            self.wfile.write(b'{"content": "", "stop": true}\n')
        finally:
            self.server.end()
        self.close_connection = True

    def _send(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int) -> None:
        self._lock = threading.Lock()
        self._steps = self._running = 0
        super().__init__(("127.0.0.1", port), _Answers)

    def begin(self) -> None:
        with self._lock:
            self._running += 1
            self._steps += 1

    def step(self) -> None:
        with self._lock:
            self._steps += 1

    def end(self) -> None:
        with self._lock:
            self._running -= 1

    def metrics(self) -> str:
        with self._lock:
            return (
                f"# TYPE llamacpp:n_decode_total counter\nllamacpp:n_decode_total {self._steps}\n"
                f"llamacpp:prompt_tokens_total 7\nllamacpp:tokens_predicted_total {self._steps}\n"
                f"llamacpp:requests_processing {self._running}\nllamacpp:requests_deferred 0\n"
            )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--port", type=int)
    options = parser.parse_known_args()[0]
    pass_gate("load_gate")
    if error := switches().get("load_error"):
        print(error, flush=True)
        return 1
    if nvml := switches().get("nvml"):
        # As `nvml_double.hold`: so many bytes on each GPU for as long as this process lives.
        held = "".join(f"{uuid} {count}\n" for uuid, count in nvml["memory"].items())
        (Path(nvml["home"]) / "processes" / str(os.getpid())).write_text(held)
    print("load_tensors: offloaded 33/33 layers to GPU", flush=True)
    _Server(options.port).serve_forever(poll_interval=0.05)
    return 0


if __name__ == "__main__":
    sys.exit(main())
