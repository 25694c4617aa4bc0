"""The one door to cloud APIs: calls of litellm's SDK, its answers as events and bodies in the OpenAI form."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

import orjson
import structlog

from router.ask import Ask, Endpoint
from router.clouds.answers import chunk_form, ends, headers_of, inner_stream, lack_in, vectors_form, whole_form
from router.clouds.call import CALLS, arguments
from router.clouds.cloud_reply import CloudReply
from router.clouds.ending import Ending
from router.clouds.errors import broken_off, in_our_words
from router.clouds.kinds import KINDS
from router.clouds.sdk import load
from router.errors import StreamBroken, TargetUnavailable
from router.patience import Patience
from router.quotas.learned import told_by
from router.registry import Away, Deployment
from router.reply import Reading
from router.routing.fleet import Target
from router.sse import DONE, usage_of
from router.tables.keys import engine_key

STARTING = Away("starting: its SDK is being loaded", is_coming=True)
# The SDK has time limits of its own; those of the request must end it before them.
OURS_FIRST_S = 5.0
OK = 200

log = structlog.get_logger()


class Clouds:
    """Cloud deployments by name, with their keys read from the environment."""

    def __init__(self, deployed: Iterable[Deployment], environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._sdk: Any = None
        self._away = STARTING
        self._errors: Any = None
        self._loading = asyncio.Lock()
        self.obey(deployed)

    def obey(self, deployed: Iterable[Deployment]) -> None:
        """These deployments from now on. Calls under way go on."""
        self._deployed = {each.name: each for each in deployed}
        self._keys = {name: self._keys_of(each) for name, each in self._deployed.items()}

    def _keys_of(self, deployment: Deployment) -> Mapping[str, str]:
        """Those of its pool that are set, by the names of their variables."""
        keys = {key_env: engine_key(key_env, self._environment) for key_env in deployment.key_envs}
        return {key_env: key for key_env, key in keys.items() if key is not None}

    @property
    def off(self) -> dict[str, Away]:
        """Why a deployment that has a key cannot be used yet, by target name. What the rules say of it is known by
        `router.registry`."""
        return {f"cloud/{name}": self._away for name, keys in self._keys.items() if keys and self._sdk is None}

    async def warm(self) -> None:
        """Load the SDK before the first spill needs it, if any deployment has a key; once, whoever waits for it. Where
        that fails, `off` says so."""
        async with self._loading:
            if self._sdk is None and any(self._keys.values()):
                try:
                    await asyncio.get_running_loop().run_in_executor(None, self._load)
                except Exception as error:
                    log.exception("the SDK of the clouds cannot be loaded")
                    self._away = Away(f"its SDK cannot be loaded ({type(error).__name__}): run `make up` again")

    async def close(self) -> None:
        if self._sdk is not None:
            await self._sdk.close_litellm_async_clients()

    def _load(self) -> None:
        # One of each known kind: what others ask of who calls them, as of cloud accounts, might take long to fail.
        models = {each.kind: each.model for each in self._deployed.values() if each.kind in KINDS}
        sdk = load(models.values())
        self._errors = sdk.openai.OpenAIError
        self._sdk = sdk

    async def open(self, ask: Ask, target: Target, patience: Patience, key_env: str) -> CloudReply:
        """Send the Ask with the key of that variable and wait for its first token. Raises TargetUnavailable,
        RequestRefused or ContextExceeded."""
        name = target.name.removeprefix("cloud/")
        cloud, key = self._deployed.get(name), self._keys.get(name, {}).get(key_env)
        if cloud is None or key is None or self._sdk is None:
            raise TargetUnavailable(target.name, "off", "an edit of stack.toml has taken it away", was_reached=False)
        call = getattr(self._sdk, CALLS[ask.endpoint])
        reply: CloudReply | None = None
        try:
            async with asyncio.timeout(patience.first_s):
                # For the SDK this is the longest silence at any time, also long after the first token.
                longest_s = max(patience.first_s, patience.silence_s) + OURS_FIRST_S
                answer = await call(**arguments(ask, cloud, key, longest_s))
                reply = self._reply(ask, target, answer, patience)
                await reply.until_first_token()
                reply.told = told_by(OK, headers_of(answer), "", time.time())
        except BaseException as error:
            if reply is not None:
                await reply.let_go()
            if isinstance(error, TimeoutError):
                message = f"no {'first token' if ask.stream else 'answer'} within {patience.first_s:.3g} s"
                raise TargetUnavailable(target.name, patience.cause, message) from error
            if isinstance(error, self._errors):
                raise in_our_words(target.name, error) from error
            raise
        return reply

    def _reply(self, ask: Ask, target: Target, answer: Any, patience: Patience) -> CloudReply:
        reading = Reading(target.name, ask.wants_usage)
        if ask.stream:
            return CloudReply(reading, patience, None, self._events(reading, answer), inner_stream(answer).aclose)
        is_text = ask.endpoint is not Endpoint.EMBEDDING
        data = whole_form(answer) if is_text else vectors_form(answer, ask.body.get("encoding_format") == "base64")
        if (lack := lack_in(data)) is not None:
            raise TargetUnavailable(target.name, *lack)
        reading.usage = usage_of(data)
        reading.finish_reason = next((choice.get("finish_reason") for choice in data.get("choices", ())), None)
        return CloudReply(reading, patience, orjson.dumps(data), None, _nothing)

    async def _events(self, reading: Reading, answer: Any) -> AsyncGenerator[bytes, None]:
        ending = Ending(answer)
        try:
            async for chunk in answer:
                data = chunk_form(chunk)
                if data is None:
                    continue
                if ends(data) and not ending.is_told:
                    raise StreamBroken(reading.target, "cut", "the stream was cut before its end")
                yield b"data: " + orjson.dumps(data) + b"\n\n"
        except self._errors as error:
            # Of some providers litellm sends the request only when the first event is asked for.
            told = broken_off if reading.started else in_our_words
            raise told(reading.target, error) from error
        yield DONE


async def _nothing() -> None:
    """A whole answer holds nothing open."""
