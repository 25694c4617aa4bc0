"""Where a model's files are, and whether they are the locked ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engines.models.architecture import Architecture, Attention
from engines.models.files import verify, verify_file
from engines.models.lock import LockedFile, LockedModel, LockError
from engines.models.locked import model_folder
from engines.models.verified import LEAST_BYTES, Verified
from engines.models.weights import Weights

ARCHITECTURE = Architecture("Small", 1, 1, 1, 8, 8, "float16", 16, 128, (Attention("full", 1, 1, 8, 8),))
COMMIT = "0123456789" * 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    # As short as a file of which a record is kept may be, and without taking its place on the disk.
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(LEAST_BYTES)
    return folder


@pytest.fixture
def verified(tmp_path: Path) -> Verified:
    return Verified(tmp_path / "cache" / "verified.json")


def locked(folder: Path, *paths: str) -> LockedModel:
    """What a lock of these files says."""
    contents = [(folder / path).read_bytes() for path in paths]
    files = (
        LockedFile(path, hashlib.sha256(content).hexdigest(), len(content))
        for path, content in zip(paths, contents, strict=True)
    )
    return LockedModel(
        source=f"folder:{folder}",
        licence="apache-2.0",
        quantization="none",
        capabilities=("chat",),
        architecture=ARCHITECTURE,
        weights=Weights(replicated_bytes=1),
        files=tuple(files),
    )


@pytest.fixture
def model(folder: Path) -> LockedModel:
    return locked(folder, "config.json", "model.safetensors")


def read_bytes(model: LockedModel, folder: Path, verified: Verified, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many bytes verifying reads, counted where they are hashed."""
    count = 0

    class Counting:
        def __init__(self) -> None:
            self._found = hashlib.new("sha256")

        def update(self, piece: bytes) -> None:
            nonlocal count
            count += len(piece)
            self._found.update(piece)

        def hexdigest(self) -> str:
            return self._found.hexdigest()

    with monkeypatch.context() as patched:
        patched.setattr("engines.models.files.hashlib.sha256", Counting)
        verify("small", model, folder, verified)
    return count


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({"HF_HUB_CACHE": "/there/cache", "HF_HOME": "/there/home"}, "/there/cache"),
        ({"HUGGINGFACE_HUB_CACHE": "/there/old", "HF_HOME": "/there/home"}, "/there/old"),
        ({"HF_HOME": "/there/home", "XDG_CACHE_HOME": "/there/xdg"}, "/there/home/hub"),
        ({"XDG_CACHE_HOME": "/there/xdg"}, "/there/xdg/huggingface/hub"),
        ({}, str(Path.home() / ".cache/huggingface/hub")),
        ({"HF_HOME": "~/models"}, str(Path.home() / "models/hub")),
    ],
)
def test_a_model_of_the_hub_is_where_the_library_keeps_it(
    model: LockedModel, environ: dict[str, str], where: str
) -> None:
    ours = replace(model, source="hf:maker/model", revision=COMMIT)
    assert model_folder(ours, environ) == Path(where) / "models--maker--model" / "snapshots" / COMMIT


def test_other_models_are_with_the_code_or_where_their_source_says(model: LockedModel, folder: Path) -> None:
    assert model_folder(model) == folder
    assert (model_folder(replace(model, source="builtin:smoke")) / "config.json").is_file()


def test_a_model_of_ollama_has_no_folder(model: LockedModel) -> None:
    with pytest.raises(LockError, match="ollama:llama3 has no folder"):
        model_folder(replace(model, source="ollama:llama3", revision="0" * 64))


def test_the_locked_files_are_accepted(model: LockedModel, folder: Path, verified: Verified) -> None:
    verify("small", model, folder, verified)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.unlink(), r"model\.safetensors is missing \(models\.lock \[models\.small\.files\]"),
        (lambda file: file.write_bytes(b"1"), r"model\.safetensors has 1 bytes; .* bytes says 16777216"),
        (
            lambda file: file.write_bytes(b"1" * LEAST_BYTES),
            r"model\.safetensors has sha256 [0-9a-f]{64}; .* sha256 says [0-9a-f]{64}",
        ),
    ],
)
def test_a_file_that_is_not_the_locked_one_is_named(
    model: LockedModel, folder: Path, verified: Verified, spoil: Callable[[Path], object], words: str
) -> None:
    verify("small", model, folder, verified)
    spoil(folder / "model.safetensors")
    with pytest.raises(LockError, match=words):
        verify("small", model, folder, verified)


def test_every_error_says_how_to_mend_it(model: LockedModel, folder: Path, verified: Verified) -> None:
    (folder / "config.json").write_text("[]")
    with pytest.raises(LockError, match="spillway lock"):
        verify("small", model, folder, verified)
    with pytest.raises(LockError, match=r"Delete .*config\.json; `spillway download` fetches it again"):
        verify("small", replace(model, source="hf:maker/model", revision=COMMIT), folder, verified)
    (folder / "config.json").unlink()
    with pytest.raises(LockError, match=r"is missing .* `spillway download` fetches it\."):
        verify("small", replace(model, source="hf:maker/model", revision=COMMIT), folder, verified)


def test_a_large_file_is_read_once(
    model: LockedModel, folder: Path, verified: Verified, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_bytes(model, folder, verified, monkeypatch) == LEAST_BYTES + 2
    # The small one is read every time.
    assert read_bytes(model, folder, verified, monkeypatch) == 2


def test_a_file_that_was_touched_is_read_again(
    model: LockedModel, folder: Path, verified: Verified, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify("small", model, folder, verified)
    os.utime(folder / "model.safetensors")
    assert read_bytes(model, folder, verified, monkeypatch) == LEAST_BYTES + 2


def test_other_content_with_the_old_times_is_found(model: LockedModel, folder: Path, verified: Verified) -> None:
    verify("small", model, folder, verified)
    weights = folder / "model.safetensors"
    before = weights.stat()
    with weights.open("r+b") as file:
        file.write(b"x")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(LockError, match="sha256"):
        verify("small", model, folder, verified)


def test_another_file_under_the_same_name_is_found(model: LockedModel, folder: Path, verified: Verified) -> None:
    verify("small", model, folder, verified)
    other = folder.parent / "other"
    other.write_bytes(b"1" * LEAST_BYTES)
    os.replace(other, folder / "model.safetensors")

    with pytest.raises(LockError, match="sha256"):
        verify("small", model, folder, verified)


@pytest.mark.parametrize("content", ["", "[1]", '{"/there": {"bytes": 1}}', '{"/there":'])
def test_a_record_that_cannot_be_understood_costs_only_time(
    model: LockedModel, folder: Path, tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "record.json"
    record.write_text(content)

    assert read_bytes(model, folder, Verified(record), monkeypatch) == LEAST_BYTES + 2
    assert read_bytes(model, folder, Verified(record), monkeypatch) == 2


def test_a_record_that_cannot_be_written_costs_only_time(model: LockedModel, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    verify("small", model, folder, Verified(tmp_path / "file" / "verified.json"))


def test_files_that_are_gone_leave_the_record(model: LockedModel, folder: Path, tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    verify("small", model, folder, Verified(record))
    other = tmp_path / "other.safetensors"
    (folder / "model.safetensors").rename(other)
    file = replace(model.files[1], path=other.name)
    verify_file("small", model, file, tmp_path, Verified(record))

    assert str(other) in record.read_text()
    assert str(folder) not in record.read_text()


@pytest.mark.parametrize(
    "path",
    [
        "more.safetensors",
        "generation_config.json",
        "tokenizer.model",
        "chat_template.jinja",
        "modeling_own.py",
        "merges.txt",
        "additional_chat_templates/tool.jinja",
        "original/consolidated.00.safetensors",
    ],
)
def test_a_file_that_an_engine_would_load_must_be_locked(
    model: LockedModel, folder: Path, verified: Verified, path: str
) -> None:
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text("")
    with pytest.raises(LockError, match=rf"{path} is not in models\.lock \[models\.small\.files\]"):
        verify("small", model, folder, verified)


@pytest.mark.parametrize(
    "path",
    ["README.md", "LICENSE.txt", ".gitattributes", ".cache/x.json", "original/x.safetensors", "pytorch_model.bin"],
)
def test_a_file_that_no_engine_loads_may_be_there(
    model: LockedModel, folder: Path, verified: Verified, path: str
) -> None:
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text("")
    verify("small", model, folder, verified)


def test_where_an_index_chooses_the_weights_others_may_lie_beside_them(folder: Path, verified: Verified) -> None:
    (folder / "model.safetensors.index.json").write_text("{}")
    (folder / "more.safetensors").write_text("")
    model = locked(folder, "config.json", "model.safetensors", "model.safetensors.index.json")
    verify("small", model, folder, verified)

    # But for Mistral's own, which vLLM prefers to what the index chooses.
    (folder / "consolidated.safetensors").write_text("")
    with pytest.raises(LockError, match=r"consolidated\.safetensors is not in models\.lock"):
        verify("small", model, folder, verified)
