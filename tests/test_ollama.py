"""How Ollama is started and read: its environment, its names, its answers."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from engines.kinds.kind import NotServableError
from engines.kinds.ollama import OLLAMA, find_binary, models_folder, pinned_name
from engines.kinds.ollama_api import (
    OllamaAnswerError,
    Pulled,
    after,
    counts_in,
    digest_in,
    is_permanent,
    loaded_in,
    sets_batch,
    steps_in,
)
from engines.kinds.ollama_damaged import remove_damaged
from engines.kinds.ollama_files import manifest_path
from engines.kinds.ollama_pull import place
from engines.life.lifecycle import Event
from engines.memory.ollama import slots_of
from engines.models.lock import LockedFile
from engines.models.verified import Verified
from engines.plan import EnginePlan, Runtime
from tests.locked import LLAMA_8B, locked
from tests.running_ollama import NAME, ollama_plan

DIGEST = "0123456789abcdef" * 4
USER = {"PATH": "/usr/bin", "HOME": "/home/me", "LC_ALL": "C"}


@pytest.fixture
def plan() -> EnginePlan:
    return ollama_plan(Path("/opt/ollama"), DIGEST, gpu_uuids=("GPU-b", "GPU-a"))


def test_the_command_carries_the_mark_of_the_run(plan: EnginePlan) -> None:
    command = OLLAMA.command(replace(plan, runtime=Runtime("ollama", "", ("printenv", "SPILLWAY_RUN"))), 11500, "m 1")
    shown = [word.replace(">/dev/null", "") for word in command]
    assert subprocess.run(shown, capture_output=True, text=True, check=True).stdout == "m 1\n"
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_the_environment_says_all_that_decides_its_memory(plan: EnginePlan) -> None:
    env = OLLAMA.environment(plan, USER, "/scratch", 11500)
    assert env["OLLAMA_HOST"] == "127.0.0.1:11500"
    assert (env["OLLAMA_NUM_PARALLEL"], env["OLLAMA_CONTEXT_LENGTH"]) == ("2", "4096")
    assert (env["OLLAMA_MAX_LOADED_MODELS"], env["OLLAMA_KEEP_ALIVE"]) == ("1", "-1")
    assert (env["OLLAMA_NO_CLOUD"], env["OLLAMA_NOPRUNE"]) == ("1", "1")
    assert env["LLAMA_ARG_FIT_TARGET"].isdigit()
    assert env["OLLAMA_MODELS"] == "/home/me/.cache/spillway/ollama"
    assert "OLLAMA_KV_CACHE_TYPE" not in env


def test_it_sees_the_planned_gpus_and_no_other_device(plan: EnginePlan) -> None:
    env = OLLAMA.environment(plan, USER, "/scratch", 11500)
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-b,GPU-a"
    assert env["OLLAMA_SCHED_SPREAD"] == "1"
    assert (env["OLLAMA_VULKAN"], env["HIP_VISIBLE_DEVICES"], env["ROCR_VISIBLE_DEVICES"]) == ("0", "-1", "-1")
    one = OLLAMA.environment(replace(plan, gpu_uuids=("GPU-a",)), USER, "/scratch", 11500)
    assert "OLLAMA_SCHED_SPREAD" not in one


def test_on_the_processor_it_sees_no_gpu(plan: EnginePlan) -> None:
    env = OLLAMA.environment(replace(plan, gpu_uuids=()), USER, "/scratch", 11500)
    assert env["CUDA_VISIBLE_DEVICES"] == "-1"


def test_a_planned_cache_type_comes_with_flash_attention(plan: EnginePlan) -> None:
    wanted = replace(plan, shape=replace(plan.shape, kv_cache_dtype="q8_0"))
    env = OLLAMA.environment(wanted, USER, "/scratch", 11500)
    assert (env["OLLAMA_KV_CACHE_TYPE"], env["OLLAMA_FLASH_ATTENTION"]) == ("q8_0", "1")


@pytest.mark.parametrize(
    "name",
    ["OLLAMA_DEBUG", "OLLAMA_ORIGINS", "OLLAMA_GPU_OVERHEAD", "LLAMA_ARG_CTX_SIZE", "HF_TOKEN", "OPENAI_API_KEY"],
)
def test_nothing_of_the_users_own_server_reaches_it(plan: EnginePlan, name: str) -> None:
    env = OLLAMA.environment(plan, {**USER, name: "theirs", "OLLAMA_HOST": "0.0.0.0"}, "/scratch", 11500)
    assert name not in env
    assert env["OLLAMA_HOST"] == "127.0.0.1:11500"
    assert env["HOME"] == "/scratch"


def test_the_models_directory_can_be_named() -> None:
    assert models_folder({"SPILLWAY_OLLAMA_MODELS": "/data/models", **USER}) == Path("/data/models")
    assert models_folder({"XDG_CACHE_HOME": "/cache", **USER}) == Path("/cache/spillway/ollama")


def test_the_binary_is_the_named_one_or_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SPILLWAY_OLLAMA", raising=False)
    assert find_binary() is None
    for name in ("ollama", "mine"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert find_binary() == tmp_path / "ollama"
    monkeypatch.setenv("SPILLWAY_OLLAMA", str(tmp_path / "mine"))
    assert find_binary() == tmp_path / "mine"
    monkeypatch.setenv("SPILLWAY_OLLAMA", str(tmp_path / "gone"))
    assert find_binary() is None


@pytest.mark.parametrize(
    ("name", "pinned"),
    [
        ("llama3.2:3b", "llama3.2:3b-0123456789ab"),
        ("llama3.2", "llama3.2:latest-0123456789ab"),
        ("me/model:q4", "me/model:q4-0123456789ab"),
        ("hf.co/me/model", "hf.co/me/model:latest-0123456789ab"),
        ("m:" + "t" * 80, "m:" + "t" * 67 + "-0123456789ab"),
    ],
)
def test_a_pinned_name_holds_the_digest_and_is_one_that_ollama_takes(name: str, pinned: str) -> None:
    assert pinned_name(name, DIGEST) == pinned
    assert len(pinned.rpartition(":")[2]) <= 80


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ('time=2026 level=INFO msg="Listening on 127.0.0.1:11500 (version 0.33.0)"', None),
        ('time=2026 level=INFO msg="starting llama-server" cmd="/usr/lib/ollama/llama-server"', Event.LOAD),
        ("load_tensors: offloaded 33/33 layers to GPU", Event.LOAD),
    ],
)
def test_its_log_tells_how_far_it_is(line: str, event: Event | None) -> None:
    found = OLLAMA.phase(line)
    assert found
    assert found[1] is event


def test_most_log_lines_say_nothing() -> None:
    assert OLLAMA.phase('[GIN] 2026/11/21 | 200 | 1.2ms | 127.0.0.1 | GET "/api/ps"') is None


@pytest.mark.parametrize(
    ("registry", "name", "expected"),
    [
        (None, NAME, (NAME, False)),
        ("http://127.0.0.1:5000", NAME, (f"127.0.0.1:5000/library/{NAME}", True)),
        ("https://mirror.example.com", "me/model:q4", ("mirror.example.com/me/model:q4", False)),
        ("https://mirror.example.com", "hf.co/me/model:q4", ("hf.co/me/model:q4", False)),
    ],
)
def test_another_registry_is_a_part_of_the_name(registry: str | None, name: str, expected: tuple[str, bool]) -> None:
    assert place(name, registry) == expected


@pytest.mark.parametrize("registry", ["mirror.example.com", "https://mirror.example.com/path", "ftp://mirror"])
def test_a_registry_that_ollama_cannot_name_is_refused(registry: str) -> None:
    with pytest.raises(NotServableError, match="must be a scheme and a host"):
        place(NAME, registry)


def test_a_pull_tells_how_far_it_is() -> None:
    lines = [
        {"status": "pulling manifest"},
        {"status": "pulling aaa", "digest": "sha256:a", "total": 2 * 2**30, "completed": 2**30},
        {"status": "pulling bbb", "digest": "sha256:b", "total": 2 * 2**30},
    ]
    pulled = Pulled()
    words = []
    for line in lines:
        pulled = after(pulled, json.dumps(line))
        words.append(pulled.words("llama"))
    assert words == [
        "fetching llama: pulling manifest",
        "fetching llama: 1.0 of 2.0 GiB",
        "fetching llama: 1.0 of 4.0 GiB",
    ]
    assert not pulled.is_done
    assert after(pulled, '{"status": "success"}').is_done


def test_an_error_in_a_pull_is_one_whatever_the_status_said() -> None:
    pulled = after(Pulled(), '{"error": "pull model manifest: file does not exist"}')
    assert pulled.error == "pull model manifest: file does not exist"
    assert is_permanent(pulled.error)
    assert not is_permanent("unexpected EOF")


@pytest.mark.parametrize("line", ["", "<html>", "[]"])
def test_a_line_that_is_none_of_a_pull_is_an_error(line: str) -> None:
    with pytest.raises(OllamaAnswerError):
        after(Pulled(), line)


def test_models_are_found_by_their_name_in_any_case() -> None:
    tags = json.dumps({"models": [{"name": "Llama3.2:3b", "digest": "d1"}, {"name": "other:latest", "digest": "d2"}]})
    assert digest_in(tags, "llama3.2:3b") == "d1"
    assert digest_in(tags, "llama3.2:1b") is None


def test_what_is_loaded_tells_how_much_of_it_is_on_gpus() -> None:
    model = {"name": "m:1", "digest": "d", "size": 400, "size_vram": 300, "context_length": 4096}
    loaded = loaded_in(json.dumps({"models": [model]}), "m:1")
    assert loaded
    assert (loaded.on_gpu, loaded.is_whole, loaded.context_tokens) == (0.75, False, 4096)
    whole = loaded_in(json.dumps({"models": [{**model, "size_vram": 400}]}), "m:1")
    assert whole
    assert whole.is_whole
    assert loaded_in('{"models": []}', "m:1") is None


@pytest.mark.parametrize("text", ["{}", '{"models": [1]}', '{"models": [{"name": "m:1"}]}', "oops"])
def test_a_list_of_another_shape_is_an_error(text: str) -> None:
    with pytest.raises(OllamaAnswerError):
        loaded_in(text, "m:1")


def test_a_batch_of_the_models_own_is_seen() -> None:
    assert sets_batch(json.dumps({"parameters": 'stop    "<eot>"\nnum_batch                      256'}))
    assert not sets_batch(json.dumps({"parameters": 'stop    "num_batch"'}))
    assert not sets_batch("{}")


def test_a_llama_server_counts_its_steps() -> None:
    page = (
        "# TYPE llamacpp:n_decode_total counter\nllamacpp:n_decode_total 424\n"
        "llamacpp:prompt_tokens_total 77454\nllamacpp:tokens_predicted_total 1426\n"
    )
    assert steps_in(page) == 424 + 1426
    assert counts_in(page) == (77454, 1426)
    assert steps_in("nothing") is None


def test_some_families_have_one_slot_whatever_is_wanted() -> None:
    assert slots_of(replace(LLAMA_8B, name="llama"), 4) == 4
    assert slots_of(replace(LLAMA_8B, name="qwen3next"), 4) == 1


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("llama3.2:3b", "registry.ollama.ai/library/llama3.2/3b"),
        ("llama3.2", "registry.ollama.ai/library/llama3.2/latest"),
        ("me/model:q4", "registry.ollama.ai/me/model/q4"),
        ("127.0.0.1:5000/library/model:q4", "127.0.0.1:5000/library/model/q4"),
    ],
)
def test_a_manifest_lies_where_ollama_keeps_it(name: str, place: str) -> None:
    assert manifest_path(Path("/models"), name) == Path("/models/manifests") / place


def test_files_with_other_bytes_are_removed_before_they_are_fetched_again(tmp_path: Path) -> None:
    contents = {"whole": b"as it should be", "other": b"as it was", "short": b"as it was too"}
    files = tuple(
        LockedFile(f"blobs/sha256-{name}", hashlib.sha256(content).hexdigest(), len(content))
        for name, content in (*contents.items(), ("gone", b"never there"))
    )
    (tmp_path / "blobs").mkdir()
    for name, content in {**contents, "other": b"as it isn", "short": b"as"}.items():
        (tmp_path / "blobs" / f"sha256-{name}").write_bytes(content)
    model = replace(locked(), files=files, source=f"ollama:{NAME}", revision=DIGEST)
    removed = remove_damaged("llama", model, tmp_path, Verified(tmp_path / "verified.json"))
    assert removed == ["blobs/sha256-other", "blobs/sha256-short"]
    assert [path.name for path in (tmp_path / "blobs").iterdir()] == ["sha256-whole"]
