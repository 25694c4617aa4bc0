"""The one door to Ollama's registry: the manifest of a model, its layers, and the header of its weights.

The registry speaks the Docker registry's protocol (v2): a manifest in JSON names layers by digest, and the sha256 of
its bytes is the digest that `GET /api/tags` of an Ollama server gives after the pull (Ollama 0.33,
manifest/manifest.go).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from engines.models import gguf
from engines.models.checkpoint import Checkpoint, Say, licence_of
from engines.models.lock import LockedFile
from engines.models.ollama_names import HOST, OWNER, REGISTRY_ENV, TAG

if TYPE_CHECKING:
    import httpx

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LIST = "application/vnd.ollama.manifest.list.v2+json"
# In this order a server on Linux chooses from a list (Ollama, manifest/manifest.go, runnerPreferences); MLX is not for
# NVIDIA GPUs.
RUNNERS = ("ollama", "llamacpp")
LAYER = "application/vnd.ollama.image."
ANSWER_S = 30.0
MOST_TEXT_BYTES = 1 << 22


class RegistryError(ValueError):
    """The registry, or a model in it, does not give what is asked. One or two sentences with the way to mend it."""


class RegistryUnreachableError(RegistryError):
    """The registry gives no answer: what is known from before goes on."""


@dataclass(frozen=True, slots=True)
class Layer:
    """`kind` is the last word of the media type (`model`, `template`, `license`, `projector` ...)."""

    kind: str
    sha256: str
    bytes: int


def read_model(name: str, say: Say) -> tuple[str, Checkpoint]:
    """The manifest's sha256, and what the model is. `name` as after `ollama pull`: `llama3.2:3b`, `someone/model:tag`.
    Raises RegistryError, RegistryUnreachableError, GgufError."""
    base, path, tag = _place(name)
    with _words(name), _client(base) as client:
        say("asking for the manifest")
        content = _get(client, f"/v2/{path}/manifests/{tag}", {"Accept": MANIFEST})
        layers = _layers(_chosen(client, path, content))
        texts = {layer.kind: _text(client, path, layer) for layer in layers if layer.kind in ("template", "license")}
        say("reading the header of the weights")
        model = _only_model(layers)
        with _reading(client, f"/v2/{path}/blobs/sha256:{model.sha256}") as read:
            header = gguf.read_gguf(read)
    return hashlib.sha256(content).hexdigest(), _checkpoint(header, layers, model, texts)


def _checkpoint(header: gguf.Gguf, layers: Sequence[Layer], model: Layer, texts: Mapping[str, str]) -> Checkpoint:
    weights = gguf.weights_of(header, model.bytes)
    projector_bytes = sum(layer.bytes for layer in layers if layer.kind == "projector")
    template = texts.get("template") or header.keys.get("tokenizer.chat_template")
    return Checkpoint(
        architecture=gguf.architecture_of(header),
        weights=replace(weights, vision_bytes=weights.vision_bytes + projector_bytes),
        quantization=gguf.quantization_of(header),
        files=tuple(LockedFile(f"blobs/sha256-{layer.sha256}", layer.sha256, layer.bytes) for layer in layers),
        chat_template=hashlib.sha256(template.encode()).hexdigest() if isinstance(template, str) else None,
        capabilities=_capabilities(template, projector_bytes > 0 or weights.vision_bytes > 0),
        licence=licence_of(texts.get("license", "")),
        notes=(),
    )


def _capabilities(template: object, has_vision: bool) -> tuple[str, ...]:
    """Tools where the template knows them, as Ollama decides it (server/images.go, Capabilities)."""
    has = {"tools": isinstance(template, str) and "tools" in template.lower(), "vision": has_vision}
    return tuple(name for name in ("chat", "completion", "tools", "vision", "json_schema") if has.get(name, True))


def _place(name: str) -> tuple[str, str, str]:
    """Registry, path and tag: `[[host/]owner/]model[:tag]`."""
    path, _, tag = name.partition(":")
    *host, owner, model = [OWNER, *path.split("/")] if path.count("/") == 0 else path.split("/")
    if len(host) > 1 or not all([*host, owner, model]):
        raise RegistryError(f"ollama:{name}: write owner/model:tag, or model:tag.")
    base = f"https://{host[0]}" if host else os.environ.get(REGISTRY_ENV) or f"https://{HOST}"
    return base.rstrip("/"), f"{owner}/{model}", tag or TAG


def _client(base: str) -> httpx.Client:
    # Loaded here: `spillway status` has no use for it.
    import httpx  # noqa: PLC0415

    # Blobs lie on another host, behind a redirect.
    return httpx.Client(base_url=base, timeout=ANSWER_S, follow_redirects=True)


def _get(client: httpx.Client, address: str, headers: Mapping[str, str] | None = None) -> bytes:
    """A short answer, whole."""
    with client.stream("GET", address, headers=headers) as answer:
        answer.raise_for_status()
        content = bytearray()
        for piece in answer.iter_bytes():
            content += piece
            if len(content) > MOST_TEXT_BYTES:
                raise RegistryError(f"{address} is longer than {MOST_TEXT_BYTES} bytes.")
        return bytes(content)


@contextmanager
def _reading(client: httpx.Client, address: str) -> Iterator[gguf.Read]:
    """The beginning of a large blob, as far as it is read. The rest is never sent."""
    with client.stream("GET", address, headers={"Range": "bytes=0-"}) as answer:
        answer.raise_for_status()
        pieces, waiting = answer.iter_bytes(), bytearray()

        def read(size: int) -> bytes:
            while len(waiting) < size and (piece := next(pieces, None)) is not None:
                waiting.extend(piece)
            taken = bytes(waiting[:size])
            del waiting[:size]
            return taken

        yield read


def _chosen(client: httpx.Client, path: str, content: bytes) -> Mapping[str, Any]:
    """The manifest, or of a list the one that an Ollama server here would choose."""
    manifest = _table(content)
    if manifest.get("mediaType") != LIST:
        return manifest
    children = {str(child.get("runner", "")).lower(): child for child in manifest.get("manifests", [])}
    chosen = next((children[runner] for runner in RUNNERS if runner in children), None)
    if chosen is None:
        raise RegistryError(f"this model is there for {', '.join(children) or 'nothing'} only, not for NVIDIA GPUs.")
    if "layers" in chosen:
        return dict(chosen)
    return _table(_get(client, f"/v2/{path}/manifests/{chosen.get('digest')}", {"Accept": MANIFEST}))


def _table(content: bytes) -> dict[str, Any]:
    try:
        table = json.loads(content)
    except ValueError as error:
        raise RegistryError(f"the registry's manifest is not valid JSON: {error}.") from error
    if not isinstance(table, dict):
        raise RegistryError("the registry's manifest is not a JSON object.")
    return table


def _layers(manifest: Mapping[str, Any]) -> list[Layer]:
    """All that a pull fetches, the configuration included, each once and by digest."""
    try:
        raw = [*manifest["layers"], manifest["config"]]
        found = {
            layer["digest"]: Layer(
                str(layer["mediaType"]).removeprefix(LAYER), layer["digest"].removeprefix("sha256:"), int(layer["size"])
            )
            for layer in raw
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RegistryError(f"the registry's manifest does not list layers: {error!r}.") from error
    return [found[digest] for digest in sorted(found)]


def _only_model(layers: Sequence[Layer]) -> Layer:
    models = [layer for layer in layers if layer.kind == "model"]
    if len(models) != 1:
        kinds = ", ".join(sorted({layer.kind.partition(";")[0] for layer in layers}))
        raise RegistryError(f"the manifest has {len(models)} GGUF layers instead of one; it has: {kinds}.")
    return models[0]


def _text(client: httpx.Client, path: str, layer: Layer) -> str:
    content = _get(client, f"/v2/{path}/blobs/sha256:{layer.sha256}")
    if hashlib.sha256(content).hexdigest() != layer.sha256:
        raise RegistryError(f"the registry's {layer.kind} layer does not have the digest that the manifest says.")
    return content.decode("utf-8", errors="replace")


@contextmanager
def _words(name: str) -> Iterator[None]:
    """httpx's errors as RegistryError, all with the model's name."""
    import httpx  # noqa: PLC0415

    try:
        yield
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status in (401, 403, 404):
            raise RegistryError(
                f"ollama:{name}: the registry has no such model or tag, or it is private. Check the spelling."
            ) from error
        raise RegistryUnreachableError(f"ollama:{name}: the registry answers {status}. Try again later.") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RegistryUnreachableError(f"ollama:{name}: the registry cannot be reached ({error}).") from error
    except (RegistryError, gguf.GgufError) as error:
        raise RegistryError(f"ollama:{name}: {error}") from error
