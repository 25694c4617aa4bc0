"""The one door to cloud APIs: the litellm SDK, as events and bodies in the OpenAI form, its errors mapped to ours.

Only fields of the OpenAI API travel: a client's `api_base` or `api_key` in the body could send our key elsewhere.
litellm takes two seconds and about 120 MB to import, so it is loaded once, on a thread, and only where a key is set.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

import orjson

from router.ask import Ask, Endpoint
from router.clouds.cloud_reply import CloudReply
from router.errors import ContextExceeded, StreamBroken, TargetUnavailable, error_answer
from router.forward import OPENAI_FIELDS
from router.patience import Patience
from router.registry import Deployment
from router.reply import Reading
from router.routing.fleet import Target
from router.sse import DONE, usage_of
from router.tables.keys import engine_key

LONGEST_MESSAGE = 500
STARTING = "starting: its SDK is being loaded"
# The SDK has time limits of its own; those of the request must end it before them.
OURS_FIRST_S = 5.0


class Clouds:
    """Cloud deployments by name, with their keys read from the environment."""

    def __init__(self, deployed: Iterable[Deployment], environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._sdk: Any = None
        self._errors: Any = None
        self.obey(deployed)

    def obey(self, deployed: Iterable[Deployment]) -> None:
        """These deployments from now on. Calls under way go on."""
        self._deployed = {each.name: each for each in deployed}
        self._keys = {name: self._keys_of(each) for name, each in self._deployed.items()}

    def _keys_of(self, deployment: Deployment) -> tuple[str, ...]:
        """Those of its pool that are set, in the order of stack.toml."""
        keys = (engine_key(key_env, self._environment) for key_env in deployment.key_envs)
        return tuple(key for key in keys if key is not None)

    @property
    def off(self) -> dict[str, str]:
        """Why a deployment that has a key cannot be used yet, by target name. What keeps one off for longer is known by
        `router.registry`."""
        return {f"cloud/{name}": STARTING for name, keys in self._keys.items() if keys and self._sdk is None}

    async def warm(self) -> None:
        """Load the SDK before the first spill needs it, if any deployment has a key."""
        if self._sdk is None and any(self._keys.values()):
            await asyncio.get_running_loop().run_in_executor(None, self._load)

    async def close(self) -> None:
        if self._sdk is not None:
            await self._sdk.close_litellm_async_clients()

    def _load(self) -> None:
        # Without this litellm fetches its price map from the internet while it is imported.
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        sdk: Any = importlib.import_module("litellm")
        self._errors = importlib.import_module("openai")
        sdk.suppress_debug_info = True
        sdk.telemetry = False
        # It would rebuild every answer for logs that nobody reads.
        sdk.disable_streaming_logging = True
        sdk.drop_params = True
        asyncio.run(_rehearse(sdk))
        self._sdk = sdk

    async def open(self, ask: Ask, target: Target, patience: Patience) -> CloudReply:
        """Send the Ask and wait for its first token. Raises TargetUnavailable, RequestRefused or ContextExceeded."""
        name = target.name.removeprefix("cloud/")
        cloud, keys = self._deployed.get(name), self._keys.get(name)
        if cloud is None or not keys or self._sdk is None:
            raise TargetUnavailable(target.name, "off", "an edit of stack.toml has taken it away")
        call = self._sdk.acompletion if ask.endpoint is Endpoint.CHAT else self._sdk.atext_completion
        reply: CloudReply | None = None
        try:
            async with asyncio.timeout(patience.first_s):
                # For the SDK this is the longest silence at any time, also long after the first token.
                longest_s = max(patience.first_s, patience.silence_s) + OURS_FIRST_S
                answer = await call(**_arguments(ask, cloud, keys[0], longest_s))
                reply = self._reply(ask, target, answer, patience)
                await reply.until_first_token()
        except BaseException as error:
            if reply is not None:
                await reply.let_go()
            if isinstance(error, TimeoutError):
                message = f"no {'first token' if ask.stream else 'answer'} within {patience.first_s:.3g} s"
                raise TargetUnavailable(target.name, patience.cause, message) from error
            if isinstance(error, self._errors.APIError | self._errors.APIConnectionError):
                raise _mapped(target.name, error) from error
            raise
        return reply

    def _reply(self, ask: Ask, target: Target, answer: Any, patience: Patience) -> CloudReply:
        reading = Reading(target.name, ask.wants_usage)
        if ask.stream:
            return CloudReply(reading, patience, None, self._events(target, answer), _closer(answer))
        data = answer.model_dump(exclude_none=True)
        reading.usage = usage_of(data)
        reading.finish_reason = next((choice.get("finish_reason") for choice in data.get("choices", ())), None)
        return CloudReply(reading, patience, orjson.dumps(data), None, _nothing)

    async def _events(self, target: Target, answer: Any) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in answer:
                yield b"data: " + orjson.dumps(_chunk(chunk)) + b"\n\n"
        except (self._errors.APIError, self._errors.APIConnectionError) as error:
            raise StreamBroken(target.name, _status_of(error), _message(error)) from error
        yield DONE


async def _rehearse(sdk: Any) -> None:
    """A call that goes nowhere: litellm imports half of itself only with the first one, which would cost a second."""
    words = [{"role": "user", "content": "."}]
    stream = await sdk.acompletion(model="openai/rehearsal", messages=words, mock_response=".", stream=True)
    async for _ in stream:
        pass


def _closer(answer: Any) -> Callable[[], Awaitable[None]]:
    """How to hang up. litellm wraps a text completion once more, and that wrapper cannot be closed itself."""
    closer: Callable[[], Awaitable[None]] = (answer if hasattr(answer, "aclose") else answer.completion_stream).aclose
    return closer


async def _nothing() -> None:
    """A whole answer holds nothing open."""


def _arguments(ask: Ask, cloud: Deployment, key: str, timeout_s: float) -> dict[str, Any]:
    body = ask.body
    arguments = {field: value for field, value in body.items() if field in OPENAI_FIELDS}
    arguments |= {"model": cloud.model, "api_key": key, "timeout": timeout_s, "max_retries": 0, "num_retries": 0}
    if body.get("tools"):
        # Else litellm looks for tools of its proxy in them, with a package that only the proxy installs.
        arguments["_skip_mcp_handler"] = True
    if cloud.base_url is not None:
        arguments["api_base"] = cloud.base_url
    if ask.stream:
        arguments |= {"stream": True, "stream_options": {"include_usage": True}}
    return arguments


def _chunk(chunk: Any) -> dict[str, Any]:
    """A litellm chunk in the OpenAI form: `finish_reason` always there, no choices beside the final usage."""
    data: dict[str, Any] = chunk.model_dump(exclude_none=True)
    choices = data.get("choices", [])
    if data.get("usage") and not any(choice.get("finish_reason") or choice.get("delta") for choice in choices):
        data["choices"] = []
    for choice in choices:
        choice.setdefault("finish_reason", None)
        if "delta" not in choice:
            choice.setdefault("text", "")
    return data


def _status_of(error: Any) -> str:
    if type(error).__name__ in {"Timeout", "APITimeoutError"}:
        return "timeout"
    if any(isinstance(each, OSError) for each in _causes(error)):
        return "connect"
    return str(getattr(error, "status_code", None) or "error")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from: litellm calls a refused connection an InternalServerError."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _message(error: Any) -> str:
    """The provider's words, without the class names that litellm puts in front of them."""
    return str(getattr(error, "message", error)).rpartition("Exception - ")[2][:LONGEST_MESSAGE]


def _mapped(target: str, error: Any) -> Exception:
    """litellm gives every provider's error the OpenAI class and status; the class name tells a full context."""
    status, message = _status_of(error), _message(error)
    if type(error).__name__ == "ContextWindowExceededError":
        return ContextExceeded(target, message)
    if not status.isdigit():
        return TargetUnavailable(target, status, message)
    return error_answer(target, int(status), message, retry_after_s=_retry_after_s(error))


def _retry_after_s(error: Any) -> float | None:
    headers = getattr(error, "litellm_response_headers", None) or {}
    try:
        return float(headers.get("retry-after", ""))
    except ValueError:
        return None
