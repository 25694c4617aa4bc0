"""The server that every client is measured under: uvicorn on uvloop with httptools, nothing logged."""

from typing import Any

import uvicorn

from benchmarks.choices.relay import PORT, OpenClient, Relay


def serve_app(app: Any, http: Any = "httptools") -> None:
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=PORT,
        loop="uvloop",
        http=http,
        ws="none",
        access_log=False,
        log_level="error",
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )


def serve(open_client: OpenClient) -> None:
    serve_app(Relay(open_client))
