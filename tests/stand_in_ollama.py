"""A stand-in for Ollama, a process that follows its documented API and its traps (0.33: docs/api.md, server/routes.go,
server/sched.go, openai/openai.go). Run as `ollama serve`; `binary` makes the file to run.

Faults are switched by `switches.json` in the folder that `binary` was given, at any time:
    load_error   words with which every load fails
    load_gate, reply_gate, unload_gate   a FIFO: a load, an answer, an unload waits until somebody writes to it
    cut_bytes    the connection of a pull breaks after so many bytes of a blob
    on_gpu       the share of a model that is on the GPU; the rest is on the CPU, and nothing says so
    nvml         {"home": .., "memory": {uuid: bytes}}: what a loaded model holds in the driver of ours
What it was asked for stands in `asked.jsonl` there. A hang or a crash of the runner is a signal to its process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.stand_in_llama_server import folder, switches
from tests.stand_in_ollama_models import Model, Models, Name
from tests.stand_in_ollama_scheduler import OllamaError, Scheduler, is_cloud_disabled

VERSION = "0.33.0"
JSON, NDJSON, EVENTS = "application/json; charset=utf-8", "application/x-ndjson", "text/event-stream"
ERRORS = {400: "invalid_request_error", 404: "not_found_error"}
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1", "")


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}"))

    def _answer(self, asked: dict[str, Any]) -> None:
        host = self.headers.get("host", "").rpartition(":")[0] or self.headers.get("host", "")
        if host not in LOOPBACK_NAMES and not host.endswith((".localhost", ".local", ".internal")):
            self._send(403, b"")
            return
        with (folder() / "asked.jsonl").open("a") as file:
            file.write(json.dumps({"path": self.path, **asked}) + "\n")
        try:
            self.server.route(self, asked)
            print(f'[GIN] | 200 | {self.command} "{self.path}"', flush=True)
        except OllamaError as error:
            self.fail(error)

    def fail(self, error: OllamaError) -> None:
        if not self.path.startswith("/v1/"):
            self.json({"error": str(error)}, error.status)
            return
        kind = ERRORS.get(error.status, "api_error")
        self.json({"error": {"message": str(error), "type": kind, "param": None, "code": None}}, error.status)

    def json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode())

    def stream(self, lines: Iterator[bytes], kind: str) -> None:
        """The status is sent with the first line, so that an error before it can still have its own."""
        first = next(lines, b"")
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self._chunk(first)
        try:
            for line in lines:
                self._chunk(line)
        except OllamaError as error:
            self._chunk(json.dumps({"error": str(error)}).encode() + b"\n")
        self._chunk(b"")

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", JSON)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, models: Models, scheduler: Scheduler) -> None:
        self._models, self.scheduler = models, scheduler
        super().__init__(("127.0.0.1", port), _Answers)

    def route(self, to: _Answers, asked: dict[str, Any]) -> None:
        pages = {
            "/": lambda: to.json("Ollama is running"),
            "/api/version": lambda: to.json({"version": VERSION}),
            "/api/tags": lambda: to.json({"models": [_listed(model) for model in self._models.all()]}),
            "/api/ps": lambda: to.json({"models": [_running(each) for each in self.scheduler.loaded()]}),
            "/api/show": lambda: to.json({"parameters": _lines(self._find(asked).parameters)}),
            "/api/pull": lambda: to.stream(self._pull(asked), NDJSON),
            "/api/copy": lambda: self._copy(to, asked),
            "/api/generate": lambda: self._generate(to, asked),
            "/v1/models": lambda: to.json({"object": "list", "data": [_model(each) for each in self._models.all()]}),
            "/v1/completions": lambda: self._complete(to, asked, is_chat=False),
            "/v1/chat/completions": lambda: self._complete(to, asked, is_chat=True),
        }
        if to.path not in pages:
            raise OllamaError(404, "404 page not found")
        pages[to.path]()

    def _find(self, asked: Mapping[str, Any]) -> Model:
        name = str(asked.get("model", ""))
        if name.endswith((":cloud", "-cloud")):
            if is_cloud_disabled():
                raise OllamaError(403, "ollama cloud is disabled: remote model is unavailable")
            raise OllamaError(502, "this would have gone to ollama.com")
        if model := self._models.find(Name.parse(name)):
            return model
        raise OllamaError(404, f"model '{name}' not found")

    def _pull(self, asked: Mapping[str, Any]) -> Iterator[bytes]:
        name = Name.parse(str(asked["model"]))
        for line in self._models.pull(name, bool(asked.get("insecure")), switches().get("cut_bytes")):
            yield json.dumps(line).encode() + b"\n"

    def _copy(self, to: _Answers, asked: Mapping[str, Any]) -> None:
        if not self._models.copy(Name.parse(asked["source"]), Name.parse(asked["destination"])):
            raise OllamaError(404, f'model "{asked["source"]}" not found')
        to._send(200, b"")

    def _generate(self, to: _Answers, asked: Mapping[str, Any]) -> None:
        model, says = self._find(asked), {"model": asked["model"], "created_at": _time(time.time()), "response": ""}
        prompt = asked.get("prompt", "")
        if not prompt and asked.get("keep_alive") == 0:
            self.scheduler.expire(model)
            to.json({**says, "done": True, "done_reason": "unload"})
            return
        runner = self.scheduler.runner(model, asked.get("options") or {})
        if not prompt:
            to.json({**says, "done": True, "done_reason": "load"})
            return
        words = list(runner.tokens(int((asked.get("options") or {}).get("num_predict", 8))))
        counts = {"prompt_eval_count": 7, "eval_count": len(words), "total_duration": 1, "load_duration": 1}
        to.json({**says, "response": "".join(words), "done": True, "done_reason": "length", **counts})

    def _complete(self, to: _Answers, asked: Mapping[str, Any], is_chat: bool) -> None:
        """`max_completion_tokens` is not read, as in Ollama."""
        runner = self.scheduler.runner(self._find(asked), {})
        words = runner.tokens(int(asked.get("max_tokens") or 8))
        says = {"id": "chatcmpl-1", "created": int(time.time()), "model": asked["model"], "system_fingerprint": "fp"}
        if asked.get("stream"):
            to.stream(_events(words, says, is_chat, asked), EVENTS)
            return
        text = list(words)
        choice = {"message": {"role": "assistant", "content": "".join(text)}} if is_chat else {"text": "".join(text)}
        to.json({**says, "choices": [{"index": 0, "finish_reason": "stop", **choice}], "usage": _usage(len(text))})


def _events(words: Iterator[str], says: Mapping[str, Any], is_chat: bool, asked: Mapping[str, Any]) -> Iterator[bytes]:
    count = 0
    for word in words:
        count += 1
        choice = {"delta": {"role": "assistant", "content": word}} if is_chat else {"text": word}
        yield _event({**says, "choices": [{"index": 0, "finish_reason": None, **choice}]})
    end: dict[str, Any] = {"delta": {}} if is_chat else {"text": ""}
    yield _event({**says, "choices": [{"index": 0, "finish_reason": "stop", **end}]})
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield _event({**says, "choices": [], "usage": _usage(count)})
    yield b"data: [DONE]\n\n"


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _usage(count: int) -> dict[str, int]:
    return {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}


def _listed(model: Model) -> dict[str, Any]:
    return {"name": model.name.short, "model": model.name.short, "digest": model.digest, "size": model.size}


def _running(runner: Any) -> dict[str, Any]:
    told = {"size": runner.size, "size_vram": runner.size_vram, "expires_at": _time(runner.expires_at_s)}
    return {**_listed(runner.model), **told, "context_length": runner.options["num_ctx"]}


def _model(model: Model) -> dict[str, Any]:
    return {"id": model.name.short, "object": "model", "created": 0, "owned_by": model.name.namespace}


def _lines(parameters: Mapping[str, Any]) -> str:
    return "\n".join(f"{key:<30} {value}" for key, value in parameters.items())


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(min(at_s, 2**33), UTC).isoformat()


def binary(state: Path) -> Path:
    """A file that runs as `ollama`, whose state is in this folder; it is made."""
    state.mkdir(parents=True, exist_ok=True)
    path = state / "ollama"
    root = Path(__file__).parents[1]
    path.write_text(
        f'#!/bin/sh\nexec env PYTHONPATH="{root}" STAND_IN_OLLAMA="{state}" '
        f'"{sys.executable}" -S -m tests.stand_in_ollama "$@"\n'
    )
    path.chmod(0o755)
    return path


def switch(state: Path, **faults: Any) -> None:
    """Switch these faults on and all others off."""
    new = state / "switches.new"
    new.write_text(json.dumps(faults))
    new.replace(state / "switches.json")


def main() -> int:
    if sys.argv[1:] != ["serve"]:
        return 2
    port = int(os.environ.get("OLLAMA_HOST", "127.0.0.1:11434").rpartition(":")[2])
    scheduler = Scheduler(os.environ)
    server = _Server(port, Models(Path(os.environ["OLLAMA_MODELS"])), scheduler)
    signal.signal(signal.SIGTERM, lambda *_: _end(scheduler))
    signal.signal(signal.SIGINT, lambda *_: _end(scheduler))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f'level=INFO msg="Listening on 127.0.0.1:{port} (version {VERSION})"', file=sys.stderr, flush=True)
    while True:
        signal.pause()


def _end(scheduler: Scheduler) -> None:
    """Connections are cut, whatever runs on them (server/routes.go, Serve)."""
    scheduler.kill_all()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
