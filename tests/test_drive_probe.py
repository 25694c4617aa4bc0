"""What serves at an address: asked of real processes, and of endpoints that are none."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

import pytest

from benchmarks.drive import probe as probing
from benchmarks.drive.probe import probe
from tests.driving import only
from tests.routers import running_router
from tests.scripted import STREAM, answered
from tests.stand_ins import standing_in

CONFIG = "[endpoint]\nport = 0\n[tiers.standard]\nttft_target_s = 2.0\n"


@contextmanager
def answering(answer: bytes, trust: ssl.SSLContext | None = None) -> Iterator[str]:
    """Says the same to whoever connects, and hangs up."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            try:
                line = trust.wrap_socket(accepted, server_side=True) if trust else accepted
                with line:
                    line.recv(65536)
                    line.sendall(answer)
            except OSError:
                accepted.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if trust else ''}://localhost:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


async def test_an_engine_tells_its_model_its_length_and_its_version() -> None:
    with standing_in("stub") as stub:
        server = await probe(f"{stub.url}/v1")
        assert (server.model, server.models, server.max_model_len) == ("tiny", ("tiny",), 8192)
        assert (server.engine, server.version, server.is_spillway) == ("vllm", "0.0.0-stub", False)
        with pytest.raises(ValueError, match=r"does not serve 'large'; it serves tiny\."):
            await probe(stub.url, "large")


async def test_the_router_tells_its_status_and_takes_the_names_by_which_it_chooses(tmp_path: Path) -> None:
    with standing_in("stub") as stub, running_router(tmp_path, CONFIG, {"tiny": stub.url}) as router:
        server = await probe(router.url, "tier/standard")
        assert (server.model, server.engine, server.is_spillway) == ("tier/standard", "spillway", True)
        assert server.models[0] == "tiny"
        assert server.status["targets"][0]["name"] == "local/tiny"
        assert (await only(router.url)).target == "local/tiny"


async def test_nobody_there_is_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ValueError, match="Nothing answers at"):
            await probe(f"http://127.0.0.1:{taken.getsockname()[1]}")


async def test_an_endpoint_that_never_answers_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PATIENCE_S", 0.2)
    listening = socket.create_server(("127.0.0.1", 0))
    with listening, pytest.raises(ValueError, match="does not answer within"):
        await probe(f"http://127.0.0.1:{listening.getsockname()[1]}")


@pytest.mark.parametrize(
    ("answer", "key", "what"),
    [
        (answered(b"<html>", "200 OK"), None, "is not an OpenAI endpoint"),
        (answered(b'{"data":[]}', "500 Internal Server Error"), None, "is not an OpenAI endpoint: status 500"),
        (answered(b"{}", "401 Unauthorized"), None, "wants a key"),
        (answered(b"{}", "401 Unauthorized"), "sk-wrong", "refuses the key"),
        (answered(b'{"object":"list","data":[]}'), None, "serves no model yet"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None, "Nothing answers"),
    ],
)
async def test_what_is_no_usable_endpoint_is_a_sentence(answer: bytes, key: str | None, what: str) -> None:
    with answering(answer) as url, pytest.raises(ValueError, match=what):
        await probe(url, key=key)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that nobody trusts yet, with its key."""
    path = tmp_path / "localhost.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(["openssl", "req", "-x509", *kind, *name, *files], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.mark.skipif(which("openssl") is None, reason="makes a certificate with openssl")
async def test_https_is_spoken_to_who_is_trusted_and_to_nobody_else(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(certificate)
    monkeypatch.setitem(os.environ, "SSL_CERT_FILE", os.devnull)
    with answering(STREAM, trust) as url:
        with pytest.raises(ValueError, match="cannot be trusted"):
            await probe(url)
        refused = await only(url)
        assert refused.error == "connection"
        assert "CERTIFICATE_VERIFY_FAILED" in refused.message
        monkeypatch.setitem(os.environ, "SSL_CERT_FILE", str(certificate))
        sample = await only(url)
        assert (sample.error, sample.events) == (None, 1)
