"""The shape of the code, checked: lengths, names, who owns the package names, no path of one machine."""

import ast
import re
import subprocess
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engines", "router", "benchmarks")
SOURCES = sorted(path for folder in (*PACKAGES, "tests") for path in (ROOT / folder).rglob("*.py"))
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 50
BANNED_SUFFIXES = ("Manager", "Handler", "Helper", "Util", "Utils", "Base", "Impl", "Factory", "Info", "Data")
BANNED_FILES = ("utils", "util", "helpers", "common", "base", "misc")
# Spelled so that this file does not find itself.
MACHINE_PATH = re.compile(r"(?<![\w.$}~*-])/(?:ro" + r"ot|wo" + r"rk)\b")


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


each_source = pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])


@each_source
def test_a_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES


@each_source
def test_functions_are_short(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = [node.name for node in functions if (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES]
    assert long == []


@each_source
def test_names_say_what_a_thing_is(path: Path) -> None:
    classes = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    assert [name for name in classes if name.endswith(BANNED_SUFFIXES)] == []
    assert path.stem not in BANNED_FILES


@each_source
def test_a_file_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_owns_our_package_names(package: str) -> None:
    # A foreign wheel with a package of the same name would silently take the place of ours.
    assert set(packages_distributions().get(package, [])) <= {"spillway-stack"}


def test_no_tracked_file_names_a_path_of_one_machine() -> None:
    found = []
    for path in tracked_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match}" for match in MACHINE_PATH.findall(text)]
    assert found == []


def test_lock_files_name_no_index_and_no_local_file() -> None:
    locks = [ROOT / "requirements.lock", *(ROOT / "engines" / "runtimes").glob("*.lock")]
    lines = [line for path in locks for line in path.read_text().splitlines()]
    assert [line for line in lines if "://" in line or line.startswith(("-", "/", "."))] == []
