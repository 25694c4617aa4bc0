"""The models directory of the stand-in for Ollama: names, manifests, blobs, and a pull that can be resumed.

As Ollama 0.33 keeps it: manifests/HOST/NAMESPACE/MODEL/TAG and blobs/sha256-DIGEST (manifest/paths.go); a model's
digest is the sha256 of its manifest (manifest/manifest.go). A pull tells its errors as a line after status 200
(server/routes.go, streamResponse).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

HOST, NAMESPACE, TAG = "registry.ollama.ai", "library", "latest"
PIECE_BYTES = 4096
ANSWER_S = 10.0


@dataclass(frozen=True)
class Name:
    """A model's name with its defaults (types/model/name.go)."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Self:
        path, colon, tag = text.rpartition(":")
        if not colon or "/" in tag:
            path, tag = text, TAG
        *host, namespace, model = [NAMESPACE, path] if "/" not in path else path.split("/")
        return cls("/".join(host) or HOST, namespace, model, tag)

    @property
    def short(self) -> str:
        if self.host != HOST:
            return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"
        return f"{'' if self.namespace == NAMESPACE else self.namespace + '/'}{self.model}:{self.tag}"


@dataclass(frozen=True)
class Model:
    """One that is there. `size` is of all its layers, `weights` the path of its GGUF, `parameters` of its Modelfile."""

    name: Name
    digest: str
    size: int
    weights: Path
    weights_bytes: int
    parameters: dict[str, Any]


class Models:
    """One models directory."""

    def __init__(self, root: Path) -> None:
        self._manifests, self._blobs = root / "manifests", root / "blobs"
        self._manifests.mkdir(parents=True, exist_ok=True)
        self._blobs.mkdir(exist_ok=True)

    def _path(self, name: Name) -> Path:
        return self._manifests / name.host / name.namespace / name.model / name.tag

    def all(self) -> list[Model]:
        names = [Name(*path.relative_to(self._manifests).parts) for path in self._manifests.glob("*/*/*/*")]
        return [model for name in names if (model := self.find(name))]

    def find(self, name: Name) -> Model | None:
        path = self._path(name)
        if not path.exists():
            return None
        content = path.read_bytes()
        manifest = json.loads(content)
        layers = {str(layer["mediaType"]).rpartition(".")[2]: layer for layer in manifest["layers"]}
        weights, parameters = layers["model"], {}
        if "params" in layers:
            parameters = json.loads(self._blob(layers["params"]["digest"]).read_bytes())
        return Model(
            name,
            hashlib.sha256(content).hexdigest(),
            sum(layer["size"] for layer in [*manifest["layers"], manifest["config"]]),
            self._blob(weights["digest"]),
            weights["size"],
            parameters,
        )

    def copy(self, source: Name, to: Name) -> bool:
        """Whether there was something to copy. Only the manifest is (server/images.go, CopyModel)."""
        if not self._path(source).exists():
            return False
        self._path(to).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._path(source), self._path(to))
        return True

    def pull(self, name: Name, insecure: bool, cut_bytes: int | None) -> Iterator[dict[str, Any]]:
        """The lines of a pull. After `cut_bytes` of a blob the connection breaks once; what came is
        kept."""
        yield {"status": "pulling manifest"}
        base = f"{'http' if insecure else 'https'}://{name.host}/v2/{name.namespace}/{name.model}"
        try:
            content = _fetch(f"{base}/manifests/{name.tag}")
        except OSError as error:
            missing = isinstance(error, urllib.error.HTTPError) and error.code == 404
            yield {"error": f"pull model manifest: {'file does not exist' if missing else error}"}
            return
        manifest = json.loads(content)
        try:
            for layer in [*manifest["layers"], manifest["config"]]:
                yield from self._pull_blob(f"{base}/blobs/{layer['digest']}", layer, cut_bytes)
            yield {"status": "verifying sha256 digest"}
            for layer in [*manifest["layers"], manifest["config"]]:
                self._verify(layer["digest"])
        except OSError as error:
            yield {"error": str(error)}
            return
        yield {"status": "writing manifest"}
        self._path(name).parent.mkdir(parents=True, exist_ok=True)
        self._path(name).write_bytes(content)
        yield {"status": "success"}

    def _pull_blob(self, url: str, layer: dict[str, Any], cut_bytes: int | None) -> Iterator[dict[str, Any]]:
        digest, total = str(layer["digest"]), int(layer["size"])
        says = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": total}
        blob = self._blob(digest)
        partial = blob.with_name(f"{blob.name}-partial")
        if not blob.exists():
            done = partial.stat().st_size if partial.exists() else 0
            left = cut_bytes - done if cut_bytes is not None and done < cut_bytes else None
            asked = urllib.request.Request(url, headers={"Range": f"bytes={done}-"})
            with urllib.request.urlopen(asked, timeout=ANSWER_S) as answer, partial.open("ab") as file:
                while piece := answer.read(PIECE_BYTES if left is None else min(PIECE_BYTES, left)):
                    file.write(piece)
                    done += len(piece)
                    yield {**says, "completed": done}
                    left = None if left is None else left - len(piece)
                    if left == 0:
                        raise OSError("unexpected EOF")
            partial.rename(blob)
        yield {**says, "completed": total}

    def _verify(self, digest: str) -> None:
        blob = self._blob(digest)
        if f"sha256:{hashlib.sha256(blob.read_bytes()).hexdigest()}" != digest:
            blob.unlink()
            raise OSError("digest mismatch, file must be downloaded again")

    def _blob(self, digest: str) -> Path:
        return self._blobs / digest.replace(":", "-")


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
        content: bytes = answer.read()
        return content
