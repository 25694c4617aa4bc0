"""models.lock: the shipped one is right, and every way of being wrong is refused with file, table and key."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.checkout import default_config, default_lock
from engines.config import read_config
from engines.models.lock import LOCK, Lock, LockError, locked_model, model_view, read_lock
from engines.models.lock_text import to_toml, write_lock
from engines.models.resolve import unlocked
from engines.terminal.locking import relock


@pytest.fixture(scope="module")
def shipped() -> Lock:
    return read_lock(default_lock())


def test_the_shipped_lock_is_what_stack_toml_and_the_files_say() -> None:
    found = relock(default_config(), default_lock(), True, lambda text: None)
    assert (found.stale, found.problems, found.lacking, found.unwanted) == ((), (), (), ())


def test_the_shipped_lock_has_all_that_the_shipped_stack_wants(shipped: Lock) -> None:
    assert unlocked(read_config(default_config()), shipped) == ()


def test_writing_and_reading_give_the_same_lock(shipped: Lock, tmp_path: Path) -> None:
    path = tmp_path / "models.lock"
    write_lock(path, shipped)
    assert read_lock(path) == shipped
    assert path.read_bytes() == default_lock().read_bytes()


def test_every_kind_of_value_survives_writing(tmp_path: Path) -> None:
    raw = {
        "schema": 2,
        "runtimes": {},
        "models": {
            'a "quoted" name.1': {
                "source": "hf:maker/model",
                "branch": "v1.0/final",
                "revision": "0" * 40,
                "licence": "Größe \\ 'x' \"y\"",
                "quantization": "compressed-tensors",
                "capabilities": (),
                "architecture": {
                    **{"name": "M", "layers": 2, "heads": 2, "kv_heads": 1, "head_size": 8, "hidden_size": 16},
                    **{"dtype": "float16", "vocabulary": 9, "context_tokens": 64},
                    "attention": (
                        {"kind": "sliding", "layers": 1, "window_tokens": 128},
                        {"kind": "mamba2", "layers": 1, "state": {"heads": 3}, "state_dtypes": ("float32", "bfloat16")},
                    ),
                },
                "weights": {},
                "files": ({"path": "a/b.json", "sha256": "1" * 64, "bytes": 0},),
            }
        },
    }
    lock = LOCK.validate_python(raw)
    path = tmp_path / "models.lock"
    write_lock(path, lock)
    assert read_lock(path) == lock


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(0, 1e12))
def test_any_text_and_any_price_survive_writing(text: str, price: float) -> None:
    lock = read_lock(default_lock())
    model = lock.models["smoke"]
    assert model.twin is not None
    twin = replace(model.twin, deployment=text, input_usd_per_mtok=price)
    changed = Lock(2, {text: "1"}, {text: replace(model, licence=text, twin=twin)})
    assert LOCK.validate_python(tomllib.loads(to_toml(changed))) == changed


def test_a_lock_without_models_can_be_read_again(tmp_path: Path) -> None:
    write_lock(tmp_path / "models.lock", Lock(2, {}, {}))
    assert read_lock(tmp_path / "models.lock").models == {}


def test_a_lock_that_says_the_same_is_not_touched(shipped: Lock, tmp_path: Path) -> None:
    path = tmp_path / "models.lock"
    write_lock(path, shipped)
    before = path.stat()
    write_lock(path, shipped)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_failed_write_leaves_the_old_lock_whole(shipped: Lock, tmp_path: Path) -> None:
    path = tmp_path / "models.lock"
    path.write_text("# what was there\n")
    (tmp_path / "models.lock.partial").mkdir()
    with pytest.raises(OSError, match=r"models\.lock\.partial"):
        write_lock(path, shipped)
    assert path.read_text() == "# what was there\n"


def test_the_text_does_not_depend_on_what_was_there(shipped: Lock) -> None:
    assert to_toml(shipped) == to_toml(read_lock(default_lock()))


def test_the_router_is_told_of_the_twin_and_its_price(shipped: Lock) -> None:
    view = model_view("smoke", shipped.models["smoke"], 2048)
    assert view.context_tokens == 2048
    assert view.twin is not None
    assert (view.twin.deployment, view.twin.input_usd_per_mtok) == ("openai-nano", 0.05)


def test_the_identity_of_a_model_changes_with_any_file(shipped: Lock) -> None:
    whole = shipped.models["smoke"]
    raw = LOCK.dump_python(shipped)
    raw["models"]["smoke"]["files"][0]["sha256"] = "0" * 64
    assert LOCK.validate_python(raw).models["smoke"].identity() != whole.identity()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        pytest.param("schema = 2", "schema = 1", r"schema must be 2 \(found: 1\)", id="other schema"),
        pytest.param("schema = 2", "", r"schema must be 2 \(found: None\)", id="no schema"),
        pytest.param("schema = 2", "schema = = 2", "not valid TOML.*line", id="broken TOML"),
        pytest.param(
            "layers =", "layer =", r"\[models.smoke.architecture\] layer is unknown; did you mean layers", id="key"
        ),
        pytest.param("layers = ", "layers = 1.", "layers must be a whole number", id="fraction"),
        pytest.param('licence = "Apache-2.0"', "licence = 2", r"\[models.smoke\] licence must be text", id="number"),
        pytest.param('dtype = "', 'dtype = "u', r"\[models.smoke.architecture\] dtype", id="unknown dtype"),
        pytest.param(
            'source = "builtin:', 'source = "../', r"\[models.smoke\] source", id="source that leaves the house"
        ),
        pytest.param('path = "config.json"', 'path = "../x"', r"\[models.smoke.files.1\] path", id="path that leaves"),
        pytest.param(
            "input_usd_per_mtok = ", "input_usd_per_mtok = -", "input_usd_per_mtok must be", id="negative price"
        ),
        pytest.param("split_bytes = ", "split_bytes = -", r"\[models.smoke.weights\] split_bytes", id="negative bytes"),
        pytest.param('kind = "full"', 'kind = "half"', r"\[models.smoke.architecture.attention.0\] kind", id="kind"),
    ],
)
def test_a_wrong_lock_is_refused(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = tmp_path / "models.lock"
    text = default_lock().read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(LockError, match=complaint) as caught:
        read_lock(path)
    assert str(path) in str(caught.value)
    assert "spillway lock" in str(caught.value)


def test_a_missing_lock_is_named(tmp_path: Path) -> None:
    with pytest.raises(LockError, match=r"models\.lock is missing"):
        read_lock(tmp_path / "models.lock")


def test_a_model_that_is_not_locked_is_refused_with_the_nearest(shipped: Lock) -> None:
    with pytest.raises(LockError, match=r"\[models.smok\] is unknown; did you mean \[models.smoke\]"):
        locked_model(shipped, "smok", default_lock())
