"""What makes a lock stale, what makes it older than stack.toml, and what of it is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.checkout import default_lock
from engines.config import Wanted, WantedGpus, WantedModel, read_config
from engines.models.lock import Lock, LockedModel, LockedTwin, read_lock
from engines.models.lock_text import write_lock
from engines.models.resolve import unlocked, unwanted
from engines.models.stale import stale
from tests.lock_bench import Workbench, table
from tests.small_models import make_model

NANO = '[clouds.nano]\nmodel = "openai/gpt-5-nano"\nkey_env = "NOBODYS_KEY"\n'
OWN = '[clouds.own]\nmodel = "openai/own-model"\nkey_env = "NOBODYS_KEY"\nbase_url = "http://127.0.0.1:9/v1"\n'


@pytest.fixture(scope="module")
def lock() -> Lock:
    return read_lock(default_lock())


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    """A workbench that wants a model in a folder, which is locked."""
    make_model(tmp_path / "own")
    bench = Workbench(tmp_path / "bench")
    bench.want(table("own", f"folder:{tmp_path / 'own'}"))
    assert bench.judge().returncode == 0
    return bench


def wanted(clouds: dict[str, str] | None = None, **models: dict[str, Any]) -> Wanted:
    known = {name: WantedModel(512, **keys) for name, keys in models.items()}
    return Wanted(known, WantedGpus(), clouds or {}, {})


def one(lock: Lock, **changes: Any) -> Lock:
    """The shipped lock with its model changed."""
    return replace(lock, models={"smoke": replace(lock.models["smoke"], **changes)})


def test_a_lock_that_has_all_that_is_wanted_is_not_older(lock: Lock) -> None:
    assert unlocked(wanted(smoke={}), lock) == ()
    assert unlocked(wanted({"openai-nano": "openai/gpt-5-nano"}, smoke={"twin": "openai-nano"}), lock) == ()
    assert unlocked(wanted(smoke={"source": "builtin:smoke"}), lock) == ()


@pytest.mark.parametrize(
    ("clouds", "models", "words"),
    [
        ({}, {"other": {}}, "[models.other] is not in models.lock."),
        ({}, {"smock": {}}, "[models.smock] is not in models.lock; did you mean [models.smoke]?"),
        ({}, {"smock": {"source": "hf:a/b"}}, "[models.smock] is not in models.lock."),
        ({}, {"smoke": {"source": "hf:a/b"}}, "has source = 'hf:a/b'; models.lock has 'builtin:smoke'."),
        ({"x": "openai/gpt-5-nano"}, {"smoke": {"twin": "x"}}, "has twin = 'x'; models.lock has 'openai-nano'."),
        (
            {"openai-nano": "openai/gpt-6"},
            {"smoke": {"twin": "openai-nano"}},
            "has the twin openai-nano, which is 'openai/gpt-6'; models.lock has 'openai/gpt-5-nano'.",
        ),
    ],
)
def test_a_lock_without_what_is_wanted_is_older(
    lock: Lock, clouds: dict[str, str], models: dict[str, Any], words: str
) -> None:
    assert [line for line in unlocked(wanted(clouds, **models), lock) if words in line]


def test_another_revision_of_the_same_repository_is_wanted_anew(lock: Lock) -> None:
    locked = one(lock, source="hf:a/b", branch="v1", revision="0" * 40)
    assert unlocked(wanted(smoke={"source": "hf:a/b@v1"}), locked) == ()
    assert unlocked(wanted(smoke={"source": "hf:a/b@v2"}), locked)
    assert unlocked(wanted(smoke={"source": "hf:a/b"}), locked)


def test_models_that_nobody_wants_are_known(lock: Lock) -> None:
    assert unwanted(wanted(smoke={}), lock) == ()
    assert unwanted(wanted(other={}), lock) == ("smoke",)


def test_the_same_lock_is_not_stale(lock: Lock) -> None:
    assert stale(lock, lock) == []


def changes(model: LockedModel) -> list[tuple[dict[str, Any], str]]:
    twin = model.twin
    assert isinstance(twin, LockedTwin)
    state = replace(model.architecture.attention[0], layers=9)
    return [
        (
            {"architecture": replace(model.architecture, layers=9)},
            "[models.smoke.architecture] layers is 9; now it is 4",
        ),
        (
            {"architecture": replace(model.architecture, attention=(state,))},
            "attention is 9 full (kv_heads 2, key_size 32, value_size 32); now it is 4 full (",
        ),
        ({"weights": replace(model.weights, kv_bytes=0)}, "What differs: kv_bytes."),
        ({"files": model.files[1:]}, "[models.smoke] chat_template.jinja is new."),
        ({"files": (*model.files, replace(model.files[0], path="more"))}, "[models.smoke] more is gone."),
        ({"files": (replace(model.files[0], bytes=1), *model.files[1:])}, "chat_template.jinja is changed."),
        ({"licence": "MIT"}, "[models.smoke] licence is MIT; now it is Apache-2.0."),
        ({"quantization": "fp8"}, "[models.smoke] quantization is fp8; now it is none."),
        ({"chat_template": None}, "[models.smoke] chat_template is not there; now it is e8a0e0c836fd..."),
        ({"twin": None}, "[models.smoke] has no twin yet; now it is cloud/openai-nano."),
        (
            {"twin": replace(twin, input_usd_per_mtok=9.0)},
            "[models.smoke.twin] input_usd_per_mtok is 9.0; now it is 0.05",
        ),
        (
            {"twin": replace(twin, priced_from="litellm 0.1")},
            "[models.smoke.twin] priced_from is litellm 0.1; now it is",
        ),
    ]


@pytest.mark.parametrize("number", range(12))
def test_every_fact_that_differs_is_said(lock: Lock, number: int) -> None:
    change, words = changes(lock.models["smoke"])[number]
    lines = stale(one(lock, **change), lock)
    assert len(lines) == 1
    assert words in lines[0]


def test_many_changed_files_are_one_sentence(lock: Lock) -> None:
    model = lock.models["smoke"]
    older = one(lock, files=tuple(replace(file, sha256="0" * 64) for file in model.files))
    assert stale(older, lock) == [
        "[models.smoke] chat_template.jinja, config.json, generation_config.json and 3 more are changed."
    ]


def test_other_pins_of_the_runtimes_are_stale(lock: Lock) -> None:
    lines = stale(replace(lock, runtimes={**lock.runtimes, "vllm": "0.1.0", "gone": "1"}), lock)
    assert [line for line in lines if "vllm is 0.1.0; this checkout installs" in line]
    assert [line for line in lines if "gone is no longer a runtime" in line]


def test_check_says_what_is_stale_and_writes_nothing(bench: Workbench, tmp_path: Path) -> None:
    text = bench.lock_path.read_text().replace('licence = "apache-2.0"', 'licence = "mit"')
    bench.lock_path.write_text(text)

    said = bench.run("--check")

    assert said.returncode == 1
    assert "models.lock: [models.own] licence is mit; now it is apache-2.0." in said.stdout
    assert "Run `spillway lock` if these changes are meant." in said.stdout
    assert bench.lock_path.read_text() == text
    assert sorted(path.name for path in bench.folder.iterdir()) == ["models.lock", "stack.toml"]


def test_check_without_any_lock_says_that_nothing_is_locked(bench: Workbench) -> None:
    bench.lock_path.unlink()
    said = bench.judge("--check")
    assert (said.returncode, bench.lock_path.exists()) == (1, False)
    assert "models.lock: [models.own] is new: folder:" in said.stdout


def test_a_damaged_lock_is_not_written_over(bench: Workbench) -> None:
    bench.lock_path.write_text("schema = 2\nmodels = 3\n")
    said = bench.judge()
    assert said.returncode == 1
    assert "models must be" in said.stdout
    assert bench.lock_path.read_text() == "schema = 2\nmodels = 3\n"


def test_a_lock_of_an_older_schema_is_made_anew(bench: Workbench) -> None:
    before = bench.lock_path.read_text()
    bench.lock_path.write_text("schema = 1\n")
    assert bench.judge().returncode == 0
    assert bench.lock_path.read_text() == before


def test_a_model_that_is_no_longer_wanted_stays_and_is_said(bench: Workbench, tmp_path: Path) -> None:
    own = bench.model("own")
    make_model(tmp_path / "second", layers=1)
    bench.want(table("second", f"folder:{tmp_path / 'second'}"))

    said = bench.judge()

    assert said.returncode == 0
    assert "models.lock: [models.own] is not wanted by stack.toml. It stays." in said.stdout
    assert list(bench.lock().models) == ["own", "second"]
    assert bench.model("own") == own
    assert bench.judge("--check").returncode == 0


def test_a_twin_that_is_written_by_hand_stays(bench: Workbench) -> None:
    twin = LockedTwin("mine", "openai/mine", 4096, ("chat",), 1.0, 2.0, "my contract")
    lock = bench.lock()
    write_lock(bench.lock_path, replace(lock, models={"own": replace(lock.models["own"], twin=twin)}))

    said = bench.judge()

    assert (said.returncode, "models.lock is up to date." in said.stdout) == (0, True)
    assert bench.model("own").twin == twin


def test_capabilities_that_are_written_by_hand_stay(bench: Workbench) -> None:
    lock = bench.lock()
    can = ("chat", "completion", "tools")
    write_lock(bench.lock_path, replace(lock, models={"own": replace(lock.models["own"], capabilities=can)}))
    assert bench.judge().returncode == 0
    assert bench.model("own").capabilities == can


def test_a_twin_in_stack_toml_gets_its_facts_from_litellm(bench: Workbench, tmp_path: Path) -> None:
    bench.want(table("own", f"folder:{tmp_path / 'own'}", twin="nano"), NANO)
    config = read_config(bench.folder / "stack.toml")
    assert unlocked(config, bench.lock())

    assert bench.judge().returncode == 0

    twin = bench.model("own").twin
    assert twin is not None
    assert (twin.deployment, twin.model, twin.input_usd_per_mtok) == ("nano", "openai/gpt-5-nano", 0.05)
    assert twin.priced_from.startswith("litellm ")
    assert unlocked(config, bench.lock()) == ()


def test_a_twin_that_litellm_does_not_know_says_what_to_add(bench: Workbench, tmp_path: Path) -> None:
    bench.want(table("own", f"folder:{tmp_path / 'own'}", twin="own"), OWN)

    said = bench.judge()

    assert said.returncode == 1
    told = " ".join(said.stdout.split())
    assert "does not know all of context and price of 'openai/own-model'. Add input_usd_per_mtok" in told
    assert "It has no twin yet." in told
    assert bench.model("own").twin is None


def test_a_twin_that_litellm_does_not_know_has_the_price_of_its_cloud(bench: Workbench, tmp_path: Path) -> None:
    price = "input_usd_per_mtok = 0.1\noutput_usd_per_mtok = 0.3\ncontext_tokens = 8192\n"
    bench.want(table("own", f"folder:{tmp_path / 'own'}", twin="own"), OWN + price)
    assert bench.judge().returncode == 0
    twin = bench.model("own").twin
    assert twin == LockedTwin("own", "openai/own-model", 8192, ("chat",), 0.1, 0.3, "stack.toml")


def test_a_model_without_a_source_says_what_to_add(bench: Workbench) -> None:
    bench.want("[models.nameless]\ncontext_tokens = 512\n")
    said = bench.judge()
    assert said.returncode == 1
    assert "[models.nameless] has no source, and models.lock does not know it." in said.stdout


def test_a_folder_is_named_by_its_whole_path(bench: Workbench) -> None:
    bench.want(table("near", "folder:../own"))
    said = bench.judge()
    assert said.returncode == 1
    assert "[models.near] source must be like" in said.stdout


def test_a_model_that_is_locked_needs_no_source(bench: Workbench) -> None:
    bench.want("[models.own]\ncontext_tokens = 512\n")
    said = bench.judge("--check")
    assert (said.returncode, "models.lock is up to date." in said.stdout) == (0, True)
