"""A program that takes an engine's port as soon as it is free, and answers everything with 200 and nonsense."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.loopback import HOST

PATIENCE_S = 10.0
PAUSE_S = 0.002
NONSENSE = json.dumps(
    {
        "object": "list",
        "data": [{"id": "stranger"}],
        "choices": [{"index": 0, "message": {"content": "stranger"}, "text": "stranger", "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()


class _Nonsense(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._send()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self._send()

    def _send(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(NONSENSE)))
        self.end_headers()
        self.wfile.write(NONSENSE)

    def log_message(self, *_: object) -> None:
        return


class Stranger:
    """Holds the port from its making until `close`. Raises OSError where the port does not become free."""

    def __init__(self, port: int) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._server = ThreadingHTTPServer((HOST, port), _Nonsense)
            except OSError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(PAUSE_S)
            else:
                break
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """The port is free again."""
        self._server.shutdown()
        self._server.server_close()
