"""The list of verbs: each can be called, and says of itself what the list says."""

import pytest
from typer.testing import CliRunner

from engines.cli import PASS_ON, RUNTIME_VERBS, VERBS, Verb, app

SHELL = CliRunner()
# Wide enough for every sentence in one line.
WIDE = {"COLUMNS": "200"}
EVERY = (*VERBS, *RUNTIME_VERBS)
OURS = [verb for verb in EVERY if verb.settings != PASS_ON]
PASSED_ON = [verb for verb in EVERY if verb.settings == PASS_ON]


def name_of(verb: Verb) -> str:
    return verb.name


def words_of(verb: Verb) -> list[str]:
    return ["runtime", verb.name] if verb in RUNTIME_VERBS else [verb.name]


def test_the_list_has_every_verb_and_what_it_does() -> None:
    said = SHELL.invoke(app, ["--help"], env=WIDE).output + SHELL.invoke(app, ["runtime", "--help"], env=WIDE).output
    for verb in EVERY:
        assert f"{verb.name} " in said
        assert verb.help in said


@pytest.mark.parametrize("verb", OURS, ids=name_of)
def test_a_verb_tells_its_own_options(verb: Verb) -> None:
    said = SHELL.invoke(app, [*words_of(verb), "--help"], env=WIDE)
    assert (said.exit_code, verb.help in said.output) == (0, True)
    assert f"{' '.join(words_of(verb))} [OPTIONS]" in said.output


@pytest.mark.parametrize("verb", PASSED_ON, ids=name_of)
def test_a_verb_that_becomes_another_program_takes_any_option(verb: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr("engines.verbs.become.os.execv", lambda _program, words: became.append(words))
    assert SHELL.invoke(app, [verb.name, "--help", "--any", "7"]).exit_code == 0
    assert [word in became[0] for word in ("-m", "--help", "--any", "7")] == [True] * 4


def test_an_unknown_verb_is_refused() -> None:
    said = SHELL.invoke(app, ["frobnicate"])
    assert (said.exit_code, "No such command 'frobnicate'" in said.output) == (2, True)
