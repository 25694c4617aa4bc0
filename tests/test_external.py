"""Servers that others run are asked what they serve and how busy they are, and say in words why they do not serve."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from engines.elsewhere import external, listed
from engines.elsewhere.external import Externals
from engines.elsewhere.listed import UNKNOWN_CONTEXT_TOKENS, ListedError, ListedModel
from engines.kinds.http import EngineHttp
from engines.plan import ExternalPlan
from engines.snapshot import EngineState, EngineView

LONGEST_WAIT_S = 20.0
VLLM_METRICS = """\
vllm:num_requests_running{engine="0"} 3.0
vllm:num_requests_waiting{engine="0"} 2.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:prompt_tokens_total{engine="0"} 10.0
vllm:generation_tokens_total{engine="0"} 20.0
vllm:cache_config_info{block_size="16",kv_cache_size_tokens="8192",num_gpu_blocks="512"} 1.0
"""
LLAMA_METRICS = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
llamacpp:prompt_tokens_total 70
llamacpp:tokens_predicted_total 90
llamacpp:requests_processing 4
llamacpp:requests_deferred 6
"""
OLD_LLAMA_METRICS = f"{LLAMA_METRICS}llamacpp:kv_cache_usage_ratio 0.5\nllamacpp:kv_cache_tokens 2048\n"


def _models(*names: str, **facts: object) -> str:
    return json.dumps({"object": "list", "data": [{"id": name, "object": "model", **facts} for name in names]})


@dataclass
class Server:
    """A server of somebody else's: its pages, on a real port. A page that is None never ends its answer."""

    pages: dict[str, str | None]
    status: dict[str, int] = field(default_factory=dict)
    key: str | None = None
    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    at_once: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            page = head.split()[1]
            self.asked[page] += 1
            self.at_once[page] += 1
            self.most_at_once = max(self.most_at_once, self.at_once[page])
            writer.write(self._reply(page, head))
            await writer.drain()
            if page in self.pages and self.pages[page] is None:
                await reader.read()
            self.at_once[page] -= 1
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _reply(self, page: str, head: str) -> bytes:
        status, text = self.status.get(page, 200), self.pages.get(page, "")
        if self.key and f"authorization: bearer {self.key}" not in head.lower():
            status, text = 401, "who are you?"
        elif page not in self.pages:
            status = 404
        if text is None:
            return b""
        return f"HTTP/1.1 {status} X\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n{text}".encode()


@asynccontextmanager
async def _listening(server: Server) -> AsyncIterator[Server]:
    """On the same port again when it listens anew."""
    listener = await asyncio.start_server(server.answer, "127.0.0.1", server.port)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


async def _port(server: Server) -> None:
    """It has listened once, so its port is known."""
    async with _listening(server):
        pass


@asynccontextmanager
async def _asked(plans: list[ExternalPlan], environment: Mapping[str, str] | None = None) -> AsyncIterator[Externals]:
    async with EngineHttp() as http:
        externals = Externals(plans, http, environment or {})
        running = asyncio.create_task(externals.run())
        try:
            yield externals
        finally:
            assert not running.done()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _until(externals: Externals, holds: Callable[[tuple[EngineView, ...]], bool]) -> tuple[EngineView, ...]:
    deadline_s = time.monotonic() + LONGEST_WAIT_S
    while not holds(views := externals.views()):
        assert time.monotonic() < deadline_s, views
        await asyncio.sleep(0.01)
    return views


def _all(state: EngineState) -> Callable[[tuple[EngineView, ...]], bool]:
    return lambda views: bool(views) and all(view.state is state for view in views)


READY, FAILED = _all(EngineState.READY), _all(EngineState.FAILED)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "EVERY_S", 0.02)
    monkeypatch.setattr(external, "MODELS_EVERY_S", 0.1)
    monkeypatch.setattr(external, "LIMIT_S", 0.5)


async def test_another_vllm_is_ready_with_its_context_and_its_load() -> None:
    pages: dict[str, str | None] = {"/health": "", "/metrics": VLLM_METRICS}
    server = Server({**pages, "/v1/models": _models("org/tiny", max_model_len=4096)})
    async with _listening(server), _asked([ExternalPlan("box", server.url, models=(("tiny", "org/tiny"),))]) as asked:
        (view,) = await _until(asked, lambda views: READY(views) and views[0].load is not None)
        assert (view.name, view.model, view.served_name, view.kind) == ("box", "tiny", "org/tiny", "url")
        assert (view.url, view.context_tokens, view.key_env, view.last_error) == (server.url, 4096, None, None)
        assert view.load
        assert (view.load.running, view.load.waiting, view.load.kv_capacity_tokens) == (3, 2, 8192)
        assert 0 <= view.load.age_s < LONGEST_WAIT_S
        assert 0 <= view.in_state_s < LONGEST_WAIT_S


async def test_all_that_a_server_lists_has_a_name_of_its_own() -> None:
    # LM Studio has neither a health page nor figures.
    server = Server({"/v1/models": _models("one", "two")})
    async with _listening(server), _asked([ExternalPlan("studio", server.url)]) as asked:
        views = await _until(asked, READY)
    assert [(view.name, view.model, view.served_name) for view in views] == [
        ("studio-one", "one", "one"),
        ("studio-two", "two", "two"),
    ]
    assert {view.context_tokens for view in views} == {UNKNOWN_CONTEXT_TOKENS}
    assert all(view.load is None for view in views)
    assert server.asked["/health"] == 1


async def test_llama_cpp_tells_its_slots_and_who_waits() -> None:
    props = json.dumps({"total_slots": 4, "default_generation_settings": {"n_ctx": 8192}})
    pages: dict[str, str | None] = {"/health": '{"status":"ok"}', "/metrics": LLAMA_METRICS, "/props": props}
    server = Server({**pages, "/v1/models": _models("m.gguf", owned_by="llamacpp", meta={"n_ctx_train": 131072})})
    async with _listening(server), _asked([ExternalPlan("llama", server.url)]) as asked:
        (view,) = await _until(asked, lambda views: READY(views) and views[0].load is not None)
    assert (view.slots, view.context_tokens) == (4, 8192)
    assert view.load
    assert (view.load.running, view.load.waiting, view.load.kv_capacity_tokens) == (4, 6, 0)
    assert (view.load.prompt_tokens_total, view.load.generation_tokens_total) == (70, 90)


async def test_a_second_spillway_is_asked_for_its_models_only() -> None:
    names = ("auto", "smart-router", "tier/fast", "task/chat", "tiny")
    server = Server({"/v1/models": _models(*names, owned_by="spillway", max_model_len=2048)})
    async with _listening(server), _asked([ExternalPlan("other", server.url)]) as asked:
        (view,) = await _until(asked, READY)
    assert (view.name, view.served_name, view.context_tokens) == ("other", "tiny", 2048)


async def test_a_server_that_goes_away_fails_in_words_and_comes_back_by_itself() -> None:
    server = Server({"/health": "", "/metrics": VLLM_METRICS, "/v1/models": _models("tiny")})
    await _port(server)
    async with _asked([ExternalPlan("box", server.url)]) as asked:
        assert [(view.name, view.state) for view in asked.views()] == [("box", EngineState.PLANNED)]
        (view,) = await _until(asked, FAILED)
        assert view.model == "box"
        async with _listening(server):
            await _until(asked, lambda views: READY(views) and views[0].load is not None)
        (view,) = await _until(asked, FAILED)
        assert (view.last_error or "").startswith(
            "nothing answers there: start it, or correct [external.box] url (GET "
        )
        assert (view.model, view.load) == ("tiny", None)
        async with _listening(server):
            (view,) = await _until(asked, lambda views: READY(views) and views[0].load is not None)
            assert view.last_error is None


@pytest.mark.parametrize(
    ("pages", "status", "words"),
    [
        ({"/health": "Loading model", "/v1/models": _models("tiny")}, {"/health": 503}, "503: Loading model"),
        ({"/health": "", "/v1/models": _models()}, {}, "lists no model: load one there"),
        ({"/health": "", "/v1/models": "<html>"}, {}, "is no list of models: '<html>'"),
        ({"/health": "", "/v1/models": _models("other")}, {}, "has no model 'theirs'; it lists: other"),
    ],
)
async def test_what_is_wrong_is_said(pages: dict[str, str | None], status: dict[str, int], words: str) -> None:
    server = Server(pages, status)
    async with _listening(server), _asked([ExternalPlan("box", server.url, models=(("tiny", "theirs"),))]) as asked:
        (view,) = await _until(asked, FAILED)
    assert words in (view.last_error or "")
    assert (view.name, view.model, view.served_name) == ("box", "tiny", "theirs")


async def test_a_key_is_sent_and_a_missing_one_is_named() -> None:
    server = Server({"/health": "", "/v1/models": _models("tiny")}, key="s3cret")
    async with _listening(server):
        plan = ExternalPlan("box", server.url, key_env="BOX_KEY", context_tokens=512)
        async with _asked([plan], {"BOX_KEY": "s3cret"}) as asked:
            (view,) = await _until(asked, READY)
            assert (view.key_env, view.context_tokens) == ("BOX_KEY", 512)
        async with _asked([plan], {"BOX_KEY": "wrong"}) as asked:
            (view,) = await _until(asked, FAILED)
            assert "status 401" in (view.last_error or "")
        before = server.asked.total()
        async with _asked([plan]) as asked:
            (view,) = await _until(asked, FAILED)
            assert "BOX_KEY is not set" in (view.last_error or "")
        assert server.asked.total() == before


async def test_a_server_that_hangs_is_asked_one_page_at_a_time_and_delays_no_other() -> None:
    hanging = Server({"/health": None, "/v1/models": _models("slow"), "/metrics": None})
    quick = Server({"/health": "", "/v1/models": _models("tiny")})
    async with _listening(hanging), _listening(quick):
        plans = [ExternalPlan("hangs", hanging.url), ExternalPlan("quick", quick.url)]
        async with _asked(plans) as asked:
            await _until(asked, lambda views: views[1].state is EngineState.READY)
            before, began_s = quick.asked["/health"], time.monotonic()
            views = await _until(asked, lambda views: views[0].state is EngineState.FAILED)
            asked_meanwhile, took_s = quick.asked["/health"] - before, time.monotonic() - began_s
            await _until(asked, lambda _: hanging.asked["/health"] > 1 and hanging.asked["/metrics"] > 1)
    assert hanging.most_at_once == 1
    assert asked_meanwhile >= took_s / external.EVERY_S / 10
    assert views[1].state is EngineState.READY


async def test_a_change_keeps_what_stays_and_forgets_what_goes() -> None:
    one, other = Server({"/v1/models": _models("one")}), Server({"/v1/models": _models("two")})
    async with _listening(one), _listening(other):
        stays, goes = ExternalPlan("stays", one.url), ExternalPlan("goes", other.url)
        async with _asked([stays, goes]) as asked:
            await _until(asked, READY)
            comes = ExternalPlan("comes", other.url)
            asked.change([stays, comes])
            # What is known of the one that stays is not asked for again.
            assert asked.views()[0].state is EngineState.READY
            views = await _until(asked, READY)
            assert [view.name for view in views] == ["stays", "comes"]
            asked.change([])
            assert asked.views() == ()


def test_a_page_of_figures_is_told_by_its_names() -> None:
    load = listed.read_any_load(OLD_LLAMA_METRICS, 0.5)
    assert load
    assert (load.kv_used_fraction, load.kv_capacity_tokens, load.age_s) == (0.5, 4096, 0.5)
    assert listed.read_any_load('{"error":"Unexpected endpoint or method. (GET /metrics)"}', 0) is None
    assert listed.read_any_load("spillway_requests_total 3\n", 0) is None
    strange = f"{LLAMA_METRICS}llamacpp:kv_cache_usage_ratio nan\n"
    assert listed.read_any_load(strange, 0) == listed.read_any_load(LLAMA_METRICS, 0)


@pytest.mark.parametrize("page", ["", "[]", "3", '{"data": 3}', '{"data": [3]}', '{"data": [{"name": "x"}]}'])
def test_what_is_no_list_of_models_is_refused(page: str) -> None:
    with pytest.raises(ListedError, match="is no list of models"):
        listed.read_models(page)


def test_the_context_is_read_where_servers_put_it() -> None:
    page = _models("a", meta={"n_ctx_train": 9, "n_ctx": 7}, context_length=0)
    assert listed.read_models(page) == (ListedModel("a", 7),)
    assert listed.read_models(_models("a", context_window=5)) == (ListedModel("a", 5),)
    # One that is called like a choice of Spillway's, but is a model of another server.
    assert listed.read_models(_models("task/a")) == (ListedModel("task/a", None),)
    assert listed.read_props("[]") == listed.Props(None, None)
