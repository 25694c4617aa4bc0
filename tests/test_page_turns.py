"""The page of `spillway plan`: who takes turns with whom, what Ollama wants free, and what others run."""

from dataclasses import replace

import pytest

from engines.gpus.gpu import Gpus
from engines.page.viewing import view_of
from engines.plan import GIB, ExternalPlan, Plan, RouterPlan, Runtime
from tests import wants
from tests.plans import cards, engine, in_turn, printed, view


def test_who_takes_turns_with_whom_is_said_of_both() -> None:
    page = " ".join(printed(in_turn(), 200).split())
    assert "3 engines on 1 of 1 GPU, 1 of them in turn with others" in page
    assert "in turn with writer; starts awake; to rest its process ends" in page
    assert "in turn with coder; starts asleep; to rest its process ends" in page


@pytest.mark.parametrize(
    ("kind", "words"), [("vllm", "its weights go to host memory"), ("ollama", "unloads its model")]
)
def test_how_an_engine_that_stays_rests_is_said(kind: str, words: str) -> None:
    page = " ".join(printed(in_turn(may_sleep=True, kinds=kind), 200).split())
    assert page.count(f"to rest {words}") == 2


def test_what_starts_asleep_is_in_no_bar_but_has_its_figures() -> None:
    shown = in_turn()
    (card,) = shown.gpus
    assert {part.engine for part in card.parts if part.engine} == {"kept", "coder"}
    assert card.over_bytes == 0
    page = " ".join(printed(shown, 120).split())
    assert "in place of others, when it is wanted: c writer weights 40.00 + KV 15.00 + overhead 3.00 = 58.00" in page


def test_what_starts_asleep_in_the_memory_of_the_machine_is_in_no_bar_either() -> None:
    engines = [engine("a", (), 30.0, keep=False), engine("b", (), 30.0, keep=False, is_alternate=True)]
    shown = view((), engines, host_bytes=64 * GIB)
    assert shown.host is not None
    assert shown.host.over_bytes == 0
    assert {part.engine for part in shown.host.turns} == {"b"}


def test_what_ollama_wants_free_is_said() -> None:
    gpus = cards()
    plan = engine("small", gpus, kind="ollama", runtime=Runtime("ollama", "", ("ollama", "serve")))
    plan = replace(plan, sum=replace(plan.sum, headroom_bytes=4 * GIB))
    page = " ".join(printed(view(gpus, [plan]), 160).split())
    assert "at start wants 42.00 GiB free: Ollama fills four fifths of a GPU" in page


def test_servers_of_others_are_named_with_what_they_serve_here() -> None:
    others = (
        ExternalPlan("studio", "http://127.0.0.1:1234", None, (("ours", "theirs"),)),
        ExternalPlan("box", "http://b"),
    )
    plan = Plan("f", "cpu", (), (), RouterPlan((), "127.0.0.1", 4000), others)
    page = " ".join(printed(view_of(plan, Gpus((), "no driver"), (), (), wants.RULES)).split())
    assert "0 engines" in page
    assert "RUN BY OTHERS studio http://127.0.0.1:1234 ours box http://b all that it lists" in page
