"""A server's own tokenizer, asked by `/tokenize` (vLLM): exact without any file. Opens a connection.

A server tells counts, not its vocabulary, and each question costs it time: prompts are made without asking again, from
words that are found to add up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from benchmarks.workload.arrival import Kind
from benchmarks.workload.vocabulary import COMMON

LIMIT_S = 30.0
OK = 200
# Some 300 words, two questions each: a second or less.
EVERY = 3


class Served:
    """Implements `Tokenizer`. `model` may be empty: the first one that is served."""

    def __init__(self, url: str, model: str) -> None:
        """Raises ValueError, with a sentence, where nothing answers there or it has no `/tokenize`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"--tokenizer {url!r} must be an address such as http://127.0.0.1:8000, or a folder")
        connection = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = connection(parts.hostname, parts.port, timeout=LIMIT_S)
        self._prefix = parts.path.rstrip("/").removesuffix("/v1")
        self._url = url
        self._model = model or self._first_model()

    @property
    def name(self) -> str:
        """Its address."""
        return self._url

    def candidates(self) -> Sequence[str]:
        """Common words: the server does not show its own."""
        return COMMON[::EVERY]

    def counts(self, texts: Sequence[str], kind: Kind) -> list[int]:
        """One question each."""
        return [len(tokens) for tokens in self._tokens(texts, kind)]

    def ids(self, words: Sequence[str]) -> list[int]:
        """The last token of the word after another one."""
        texts = [f"{word} {word}" for word in words]
        return [tokens[-1] for tokens in self._tokens(texts, Kind.COMPLETION, bare=True)]

    def splits(self, words: Sequence[str]) -> bool:
        """Not known for certain, but the samples have to do; every answer's usage is held against the count."""
        return bool(words)

    def _tokens(self, texts: Sequence[str], kind: Kind, *, bare: bool = False) -> list[list[int]]:
        """All by one connection, which is closed afterwards."""
        try:
            return [self._tokenized(text, kind, bare) for text in texts]
        finally:
            self._connection.close()

    def _tokenized(self, text: str, kind: Kind, bare: bool) -> list[int]:
        asked: dict[str, Any] = {"model": self._model}
        if kind is Kind.CHAT:
            asked |= {"messages": [{"role": "user", "content": text}], "add_generation_prompt": True}
        else:
            asked |= {"prompt": text, "add_special_tokens": not bare}
        tokens = self._answer("POST", "/tokenize", asked).get("tokens")
        if not isinstance(tokens, list):
            raise ValueError(f"{self._url}/tokenize gives no tokens; use --tokenizer FOLDER")
        return tokens

    def _first_model(self) -> str:
        try:
            models = self._answer("GET", "/v1/models").get("data")
        finally:
            self._connection.close()
        if not isinstance(models, list) or not models:
            raise ValueError(f"{self._url} serves no model, so it cannot count tokens; use --tokenizer FOLDER")
        return str(models[0].get("id"))

    def _answer(self, method: str, path: str, asked: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        body = None if asked is None else json.dumps(asked).encode()
        try:
            self._connection.request(method, self._prefix + path, body, {"content-type": "application/json"})
            response = self._connection.getresponse()
            raw = response.read()
        except (OSError, HTTPException) as error:
            raise ValueError(f"--tokenizer: {self._url} does not answer ({error}); is it up?") from error
        if response.status != OK:
            raise ValueError(
                f"--tokenizer: {self._url} answers {path} with {response.status}; give the address of the engine "
                f"itself, which has /tokenize, or a folder. It says: {raw[:200].decode(errors='replace')}"
            )
        try:
            found = json.loads(raw)
        except ValueError as error:
            raise ValueError(f"--tokenizer: {self._url} answers {path} with no JSON: {error}") from error
        return found if isinstance(found, dict) else {}
