"""Small tokenizers for tests, of the kinds that models have, written as the folders that models come in."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from benchmarks.workload.vocabulary import COMMON

SPECIAL = ["<s>", "</s>", "<|user|>", "<|end|>", "<|assistant|>"]
TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|' + message.role + '|>' }}\n{{ message.content | trim }}<|end|>\n{%- endfor %}"
    "{%- if add_generation_prompt %}\n{{- '<|assistant|>' }}{%- endif %}"
)


def byte_level() -> Tokenizer:
    """As GPT-2 and Llama 3: words are cut before the merges; a begin-of-text is added to bare prompts."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2500, special_tokens=SPECIAL, initial_alphabet=alphabet)
    made.train_from_iterator([f"{word} {word}" for word in COMMON], trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return made


def spaced() -> Tokenizer:
    """As Llama 2: no word is cut off beforehand, spaces become low lines, one is put in front of the text."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    low_line = "\u2581"
    made.normalizer = normalizers.Sequence([normalizers.Prepend(low_line), normalizers.Replace(" ", low_line)])
    # Trained on words alone, so that no token holds the end of one and the beginning of the next.
    trainer = trainers.BpeTrainer(vocab_size=2500, special_tokens=["<unk>", *SPECIAL])
    made.train_from_iterator(COMMON, trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def crossing() -> Tokenizer:
    """With tokens that span two words, so that the count of a text is not the sum of its words."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.normalizer = normalizers.Replace(" ", "\u2581")
    pairs = [f"{first} {second}" for first in COMMON[:20] for second in COMMON[:20]]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=["<unk>", *SPECIAL])
    made.train_from_iterator([*pairs, *COMMON], trainer)
    return made


def folder_of(made: Tokenizer, folder: Path, *, template: str = TEMPLATE) -> Path:
    """The files of a model's tokenizer; without a template where it is empty."""
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "unused": 1}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if template:
        (folder / "chat_template.jinja").write_text(template)
    return folder
