"""The one door to tokenizers: a folder with `tokenizer.json`, read by the `tokenizers` library.

It counts a text as the server would count the whole prompt: with what the chat template, or a begin-of-text, adds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer as Library

from benchmarks.workload.arrival import Kind
from benchmarks.workload.template import Template, template_in

FILE = "tokenizer.json"
# A word that follows a space: GPT-2's byte-level spelling (a letter G with a dot) or SentencePiece's (a low line).
SPACED_WORD = re.compile("[\u0120\u2581]([a-z]{2,})")


# A token that holds the end of a word and the space after it. Where there is none, every word begins a new token.
CROSSING = re.compile("[a-z][ \u0120\u2581]")


class Tokenizer(Protocol):
    """What the generator of prompts needs to know of a model's tokenizer."""

    def __hash__(self) -> int:
        """What is learned of it is kept."""

    @property
    def name(self) -> str:
        """Where it is from, for the report."""

    def candidates(self) -> Sequence[str]:
        """Words that may well be one token each."""

    def counts(self, texts: Sequence[str], kind: Kind) -> list[int]:
        """The server's count of each text as a prompt of this kind."""

    def ids(self, words: Sequence[str]) -> list[int]:
        """The one token of each of these words where it follows another word."""

    def splits(self, words: Sequence[str]) -> bool:
        """Known for certain: a text is tokenized word by word, so that its count is the sum of theirs."""


class Folder:
    """The tokenizer of a model's folder, with its chat template where it has one."""

    def __init__(self, folder: Path) -> None:
        """Raises ValueError, with a sentence, where there is no tokenizer that can be read."""
        self._folder = folder
        path = folder / FILE if folder.is_dir() else folder
        if not path.is_file():
            raise ValueError(f"--tokenizer {folder}: there is no {FILE}; give the folder of the model's files")
        try:
            self._library = Library.from_file(str(path))
        # The library raises plain Exception for a file that it cannot read.
        except Exception as error:
            raise ValueError(f"--tokenizer {path}: {error}") from error
        self._library.no_truncation()
        self._library.no_padding()
        self._template: Template | None = template_in(path.parent)

    @property
    def name(self) -> str:
        """The folder's own name: the rest of the path is of one machine."""
        return self._folder.resolve().name

    def candidates(self) -> Sequence[str]:
        """Lower-case words of the vocabulary, by id: the frequent ones have the low ids."""
        vocabulary = self._library.get_vocab()
        found = (SPACED_WORD.fullmatch(token) for token in sorted(vocabulary, key=vocabulary.__getitem__))
        return [match[1] for match in found if match]

    def counts(self, texts: Sequence[str], kind: Kind) -> list[int]:
        """Chat by the template, without the special tokens that it spells itself; else with those that are added."""
        chat = kind is Kind.CHAT
        whole = [self._framed(text) for text in texts] if chat else list(texts)
        return [len(encoded) for encoded in self._library.encode_batch_fast(whole, add_special_tokens=not chat)]

    def ids(self, words: Sequence[str]) -> list[int]:
        """The last token of the word after another one."""
        texts = [f"{word} {word}" for word in words]
        return [encoded.ids[-1] for encoded in self._library.encode_batch_fast(texts, add_special_tokens=False)]

    def splits(self, words: Sequence[str]) -> bool:
        """Whether the pre-tokenizer cuts before every word, or no token of the vocabulary crosses a word's end."""
        cutter = self._library.pre_tokenizer
        if cutter is not None and len(cutter.pre_tokenize_str(" ".join(words))) == len(words):
            return True
        return not any(CROSSING.search(token) for token in self._library.get_vocab())

    def _framed(self, text: str) -> str:
        if self._template is None:
            raise ValueError(
                f"--tokenizer {self._folder}: it has no chat template (chat_template.jinja, or chat_template in "
                "tokenizer_config.json), so chat prompts cannot be counted; measure with --kind completion"
            )
        return self._template.rendered(text)
