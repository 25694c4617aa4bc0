"""Models of Ollama in models.lock: the real client against a stand-in of the registry, on a real socket."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.models.checkpoint import Checkpoint
from engines.models.ollama import RegistryError, RegistryUnreachableError, read_model
from engines.models.ollama_names import REGISTRY_ENV
from tests.lock_bench import NOWHERE, Workbench, table
from tests.small_gguf import LLAMA, TENSORS, gguf
from tests.stand_in_registry import StandInRegistry, manifest, manifest_list, standing_in_registry

WEIGHTS = gguf()
TEMPLATE = b"{{ if .Tools }}tools{{ end }}{{ .Prompt }}"
LICENCE = b"LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nLlama 3.2 Version Release Date"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInRegistry]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with standing_in_registry() as registry:
        monkeypatch.setenv(REGISTRY_ENV, registry.url)
        yield registry


def add(registry: StandInRegistry, name: str = "library/llama3.2:3b", weights: bytes = WEIGHTS) -> str:
    layers = [
        registry.layer("model", weights),
        registry.layer("template", TEMPLATE),
        registry.layer("license", LICENCE),
    ]
    return registry.add(name, layers)


def read(name: str) -> tuple[str, Checkpoint]:
    return read_model(name, lambda text: None)


def test_a_model_is_locked_by_the_digest_of_its_manifest(registry: StandInRegistry, tmp_path: Path) -> None:
    digest = add(registry)
    bench = Workbench(tmp_path, {REGISTRY_ENV: registry.url})
    bench.want(table("talker", "ollama:llama3.2:3b"))

    said = bench.run()

    assert said.returncode == 0, said.stdout + said.stderr
    model = bench.model("talker")
    assert (model.source, model.revision, model.quantization) == ("ollama:llama3.2:3b", digest, "Q4_K_M")
    assert (model.architecture.layers, model.architecture.context_tokens) == (2, 8192)
    assert model.weights.total_bytes() == sum(TENSORS.values())
    assert model.licence == "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT"
    assert model.capabilities == ("chat", "completion", "tools", "json_schema")
    assert model.chat_template == hashlib.sha256(TEMPLATE).hexdigest()
    blobs = {f"blobs/{digest.replace(':', '-')}": len(content) for digest, content in registry.blobs.items()}
    assert {file.path: file.bytes for file in model.files} == blobs
    assert bench.run("--check").returncode == 0


def test_a_tag_that_has_moved_is_stale(registry: StandInRegistry, tmp_path: Path) -> None:
    old = add(registry)
    bench = Workbench(tmp_path, {REGISTRY_ENV: registry.url})
    bench.want(table("talker", "ollama:llama3.2:3b"))
    bench.run()
    new = add(registry, weights=gguf({**LLAMA, "general.file_type": 7}))

    said = bench.run("--check")

    assert said.returncode == 1
    assert f"the tag has moved: {old[:12]} is locked, {new[:12]} is there now." in said.stdout
    assert "[models.talker] quantization is Q4_K_M; now it is Q8_0." in said.stdout
    assert bench.model("talker").revision == old


def test_of_the_weights_only_the_header_is_fetched(registry: StandInRegistry) -> None:
    large = gguf(tensors={**TENSORS, "blk.1.ffn_up.weight": 64_000_000})
    add(registry, weights=large)

    _, found = read("llama3.2:3b")

    digest = f"sha256:{hashlib.sha256(large).hexdigest()}"
    assert 0 < registry.sent_bytes[digest] < 16_000_000
    assert [asked.range for asked in registry.asked if digest in asked.path] == ["bytes=0-", "bytes=0-"]
    assert found.weights.total_bytes() == sum(TENSORS.values()) + 64_000_000


@pytest.mark.parametrize(
    ("name", "path"),
    [("llama3.2:3b", "library/llama3.2:3b"), ("llama3.2", "library/llama3.2:latest"), ("me/own:q4", "me/own:q4")],
)
def test_names_are_read_as_ollama_reads_them(registry: StandInRegistry, name: str, path: str) -> None:
    digest = add(registry, path)
    assert read(name)[0] == digest


def test_a_projector_makes_it_see(registry: StandInRegistry) -> None:
    registry.add("library/eye:1", [registry.layer("model", WEIGHTS), registry.layer("projector", b"p" * 777)])
    _, found = read("eye:1")
    assert found.weights.vision_bytes == 777
    assert found.capabilities == ("chat", "completion", "vision", "json_schema")


@pytest.mark.parametrize("inline", [True, False])
def test_of_a_list_the_manifest_for_this_machine_is_taken(registry: StandInRegistry, inline: bool) -> None:
    config, model = registry.layer("config", b"{}"), registry.layer("model", WEIGHTS)
    child = manifest(config, [model])
    digest = f"sha256:{hashlib.sha256(child).hexdigest()}"
    registry.manifests[f"library/many/manifests/{digest}"] = child
    ours = {**json.loads(child), "runner": "llamacpp"} if inline else {"digest": digest, "runner": "llamacpp"}
    whole = registry.add_raw("library/many:1", manifest_list({"digest": "sha256:0", "runner": "mlx"}, ours))

    revision, found = read("many:1")

    assert revision == whole
    assert f"blobs/{model['digest'].replace(':', '-')}" in [file.path for file in found.files]


def test_a_list_without_a_manifest_for_this_machine_is_refused(registry: StandInRegistry) -> None:
    registry.add_raw("library/apple:1", manifest_list({"digest": "sha256:0", "runner": "mlx"}))
    with pytest.raises(RegistryError, match=r"ollama:apple:1: this model is there for mlx only"):
        read("apple:1")


def test_a_model_that_is_not_there_is_named(registry: StandInRegistry) -> None:
    with pytest.raises(RegistryError, match=r"ollama:nobody:1: the registry has no such model or tag"):
        read("nobody:1")


def test_a_registry_in_trouble_is_told_apart_from_a_wrong_name(registry: StandInRegistry) -> None:
    registry.status = 502
    with pytest.raises(RegistryUnreachableError, match=r"the registry answers 502\. Try again later\."):
        read("llama3.2:3b")


def test_without_the_registry_what_is_locked_stays(registry: StandInRegistry, tmp_path: Path) -> None:
    add(registry)
    bench = Workbench(tmp_path, {REGISTRY_ENV: registry.url})
    bench.want(table("talker", "ollama:llama3.2:3b"))
    bench.run()
    before = bench.lock_path.read_bytes()

    said = bench.run(**{REGISTRY_ENV: NOWHERE})

    assert (said.returncode, bench.lock_path.read_bytes()) == (0, before)
    assert "the registry cannot be reached" in said.stdout
    assert "What models.lock has of it stays." in said.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "does not list layers"),
        (manifest({"mediaType": "c", "digest": "sha256:0", "size": 1}, []), "has 0 GGUF layers instead of one"),
    ],
)
def test_a_damaged_manifest_is_refused(registry: StandInRegistry, content: bytes, words: str) -> None:
    registry.add_raw("library/odd:1", content)
    with pytest.raises(RegistryError, match=words):
        read("odd:1")


def test_weights_that_are_no_gguf_are_refused_with_the_models_name(registry: StandInRegistry) -> None:
    add(registry, weights=b"something else entirely")
    with pytest.raises(RegistryError, match=r"ollama:llama3\.2:3b: this is no GGUF file"):
        read("llama3.2:3b")


def test_a_template_with_another_digest_is_refused(registry: StandInRegistry) -> None:
    layers = [registry.layer("model", WEIGHTS), registry.layer("template", TEMPLATE)]
    registry.blobs[layers[1]["digest"]] = b"swapped"
    registry.add("library/swapped:1", layers)
    with pytest.raises(RegistryError, match="template layer does not have the digest that the manifest says"):
        read("swapped:1")
