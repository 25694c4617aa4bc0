"""The shape of the code, checked: lengths, names, who owns the package names, no path of one machine."""

import ast
import re
import subprocess
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engines", "ground", "router", "benchmarks")
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


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {str(path.relative_to(ROOT)): path.read_text() for path in SOURCES}


@pytest.fixture(scope="module")
def trees(texts: dict[str, str]) -> dict[str, ast.Module]:
    return {name: ast.parse(text) for name, text in texts.items()}


def test_files_are_short(texts: dict[str, str]) -> None:
    assert [name for name, text in texts.items() if len(text.splitlines()) > MAX_FILE_LINES] == []


def test_functions_are_short(trees: dict[str, ast.Module]) -> None:
    functions = [
        (name, node)
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert functions
    long = [(name, node.name) for name, node in functions if lines_of(node) > MAX_FUNCTION_LINES]
    assert long == []


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def test_names_say_what_a_thing_is(trees: dict[str, ast.Module]) -> None:
    classes = [
        (name, node.name) for name, tree in trees.items() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    ]
    assert [(name, each) for name, each in classes if each.endswith(BANNED_SUFFIXES)] == []
    assert [name for name in trees if Path(name).stem in BANNED_FILES] == []


def test_files_say_what_they_are_for(texts: dict[str, str], trees: dict[str, ast.Module]) -> None:
    assert [name for name, tree in trees.items() if texts[name].strip() and not ast.get_docstring(tree)] == []


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
