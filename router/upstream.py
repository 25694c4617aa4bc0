"""The one door from the router to engines over HTTP. Maps every foreign error to ours; knows no rule.

The body travels on as it came, with the engine's own model name, usage asked for, and without the fields with which a
client could steer the engine's scheduler.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from router.ask import Ask
from router.errors import ContextExceeded, StreamBroken, TargetUnavailable, error_answer
from router.fleet import Target
from router.reply import ABORTED, Reply
from router.sse import Cutter, read_usage

# Scheduling is the router's business (engine-facts: priority, KV transfer and extra arguments are taken from bodies).
STEERING = frozenset({"priority", "kv_transfer_params", "vllm_xargs", "cache_salt"})
CONTEXT_TEXT = "maximum context length"
CONNECT_S = 2.0
IDLE_S = 2.0
OK = 200
BAD_REQUEST = 400


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as an engine lists it; the context is None where the engine does not say."""

    name: str
    context_tokens: int | None


class Upstream:
    """HTTP to engines through one connection pool. `silence_s` bounds how long a stream may send nothing."""

    def __init__(self, silence_s: float) -> None:
        self._streamed = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=silence_s)
        self._whole = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        self._session = aiohttp.ClientSession(
            # vLLM closes idle connections after 5 s; we must be first, or a request meets a closed one.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S),
            auto_decompress=False,
            read_bufsize=2**18,
        )

    async def close(self) -> None:
        await self._session.close()

    async def open(self, ask: Ask, target: Target) -> Reply:
        """Send the Ask. Raises TargetUnavailable, RequestRefused or ContextExceeded instead of an error answer."""
        headers = {"content-type": "application/json", "x-request-id": ask.request_id}
        url = f"{target.url}{ask.endpoint}"
        body = orjson.dumps(_body(ask, target))
        timeout = self._streamed if ask.stream else self._whole
        try:
            response = await self._session.post(url, data=body, headers=headers, timeout=timeout)
            return await self._reply(ask, target, response)
        except TimeoutError as error:
            raise TargetUnavailable(target.name, "timeout", f"no answer in time ({error})") from error
        except aiohttp.ClientError as error:
            raise TargetUnavailable(target.name, "connect", _words(error)) from error

    async def models(self, url: str) -> tuple[ServedModel, ...]:
        """What the server at `url` serves. Raises TargetUnavailable."""
        try:
            async with self._session.get(
                f"{url}/v1/models", timeout=aiohttp.ClientTimeout(total=CONNECT_S)
            ) as response:
                if response.status != OK:
                    raise TargetUnavailable(url, str(response.status), "GET /v1/models did not answer 200")
                return _served(url, await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TargetUnavailable(url, "connect", _words(error)) from error

    async def _reply(self, ask: Ask, target: Target, response: aiohttp.ClientResponse) -> Reply:
        async def release() -> None:
            response.close()

        try:
            if response.status != OK:
                raise _refused(target.name, response.status, await response.read())
            content_type = response.headers.get("content-type", "application/json")
            if ask.stream:
                return Reply(target.name, content_type, release, events=self._events(target.name, response))
            return _whole(target.name, content_type, await response.read(), release)
        except BaseException:
            # Cancellation included: a closed connection is how the engine learns that nobody waits any more.
            response.close()
            raise

    async def _events(self, target: str, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        cutter = Cutter()
        try:
            async for chunk in response.content.iter_any():
                for event in cutter.feed(chunk):
                    yield event
        except (aiohttp.ClientError, TimeoutError) as error:
            cause = "timeout" if isinstance(error, TimeoutError) else "cut"
            raise StreamBroken(target, cause, _words(error)) from error
        finally:
            response.close()


def _words(error: Exception) -> str:
    known = (text for kind, text in WORDS if isinstance(error, kind))
    return next(known, f"{type(error).__name__}: {error}")


WORDS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorError, "nothing listens at its address"),
    (aiohttp.ClientPayloadError, "the connection was closed in the middle of the answer"),
    (aiohttp.ServerDisconnectedError, "the connection was closed before an answer"),
    (aiohttp.ClientOSError, "the connection was reset"),
    (TimeoutError, "nothing was sent for too long"),
)


def _body(ask: Ask, target: Target) -> dict[str, Any]:
    body = {key: value for key, value in ask.body.items() if key not in STEERING}
    body["model"] = target.served_name
    if ask.stream:
        body["stream_options"] = {**(ask.body.get("stream_options") or {}), "include_usage": True}
    return body


def _whole(target: str, content_type: str, body: bytes, release: Callable[[], Awaitable[None]]) -> Reply:
    try:
        data = orjson.loads(body)
        reasons = [choice.get("finish_reason") for choice in data["choices"]]
        usage = read_usage(data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TargetUnavailable(target, "malformed", "the answer is not an OpenAI answer") from error
    if ABORTED in reasons:
        raise TargetUnavailable(target, ABORTED, "the engine aborted the request")
    return Reply(target, content_type, release, body=body, usage=usage, finish_reason=reasons[0] if reasons else None)


def _refused(target: str, status: int, body: bytes) -> Exception:
    error = _error_of(body)
    message = str(error.get("message") or f"answered {status}")
    if status == BAD_REQUEST and CONTEXT_TEXT in message:
        return ContextExceeded(target, message)
    param = error.get("param")
    field = param.removeprefix("body.") if isinstance(param, str) else None
    return error_answer(target, status, message, field)


def _error_of(body: bytes) -> Mapping[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {"message": body[:200].decode(errors="replace")}
    error = data.get("error", data) if isinstance(data, dict) else data
    return error if isinstance(error, dict) else {"message": str(error)}


def _served(url: str, body: bytes) -> tuple[ServedModel, ...]:
    try:
        listed = orjson.loads(body)["data"]
        return tuple(ServedModel(str(each["id"]), each.get("max_model_len")) for each in listed)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise TargetUnavailable(url, "malformed", "GET /v1/models is not an OpenAI list of models") from error
