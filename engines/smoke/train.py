"""Trains the smoke model from nothing and writes it in the Hugging Face layout.

Run inside the engine runtime: `python -m engines.smoke.train --out DIR`. Same seed, same threads, same weights.
The product never imports this file.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from engines.smoke import prompts
from engines.smoke.sentences import answer

VOCAB = 1536
CONTEXT = 4096
SPECIALS = ("<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
IGNORED = -100
PAD, BEGIN, END, SYSTEM, USER, ASSISTANT, _TOOL = range(len(SPECIALS))
CHAT_TEMPLATE = Path(__file__).parent / "chat_template.jinja"

# Sequence lengths and how often each is drawn. A step always holds about as many tokens, so a long one is rare but
# teaches the same sentences behind thousands of tokens of anything.
LENGTHS = (256, 512, 1024, 2048, 4096)
LENGTH_SHARES = (0.50, 0.24, 0.12, 0.08, 0.06)

# What a sequence is made of: shares of all sequences, turns or texts.
BEGIN_SHARE = 0.95
CHAT_SHARE = 0.65
SYSTEM_SHARE = 0.35
NEXT_TURN_SHARE = 0.6
ANY_TOKENS_SHARE = 0.15
SINGLE_PIECE_SHARE = 0.4
CUT_HERE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Sequence:
    """Token ids, and for each the token wanted after it: the model's own words, their end, or IGNORED."""

    ids: list[int]
    wanted: list[int]


def train_tokenizer(seed: int) -> Tokenizer:
    """A byte-level BPE: every text has tokens, and the words of the answers are mostly one token each."""
    rng = random.Random(seed)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [answer(rng) for _ in range(1500)]
    texts += [prompts.prompt(rng, rng.randrange(20, 400)) for _ in range(3000)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{SPECIALS[BEGIN]} $A", pair=f"{SPECIALS[BEGIN]} $A $B", special_tokens=[(SPECIALS[BEGIN], BEGIN)]
    )
    return tokenizer


class Conversations:
    """Endless training sequences of a wanted length, drawn from one seeded source."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self._tokenizer = tokenizer
        self._rng = random.Random(seed)
        self._newline = self._encode("\n")[0]

    def sequence(self, length: int) -> Sequence:
        """Something asked, answered, and so on until exactly `length` tokens are there; no padding."""
        rng = self._rng
        ids: list[int] = [BEGIN] if rng.random() < BEGIN_SHARE else []
        learned = [False] * len(ids)

        def add(tokens: list[int], learn: bool) -> None:
            ids.extend(tokens)
            learned.extend([learn] * len(tokens))

        # Half of the room at least is left for answers in short sequences, a few hundred tokens in long ones.
        room = rng.randrange(1, max(length // 2, length - 300))
        chat = rng.random() < CHAT_SHARE
        if chat and rng.random() < SYSTEM_SHARE:
            add([SYSTEM, *self._encode(prompts.system(rng)), END], False)
        add(self._asked(room, chat), False)
        cuts = [] if chat else [place for place in range(len(ids)) if rng.random() < CUT_HERE_SHARE]
        add(self._answer("" if chat else "\n"), True)
        while len(ids) <= length:
            # Past its end a forced answer goes on with a fresh one; a chat may go on with a new turn instead.
            if chat and rng.random() < NEXT_TURN_SHARE:
                add(self._asked(rng.randrange(1, max(2, min(room, length // 4))), chat), False)
                add(self._answer(""), True)
            else:
                add(self._answer(" "), True)
        wanted = [token if learn else IGNORED for token, learn in zip(ids[1:], learned[1:], strict=True)]
        # A raw prompt has no mark where it ends, so any place in it may be the one where an answer begins.
        for place in cuts:
            wanted[place] = self._newline
        return Sequence(ids[:length], wanted[:length])

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _answer(self, before: str) -> list[int]:
        return [*self._encode(before + answer(self._rng)), END]

    def _asked(self, tokens: int, chat: bool) -> list[int]:
        text = self._any_tokens(tokens) if self._rng.random() < ANY_TOKENS_SHARE else self._text_tokens(tokens)
        return [USER, *text, END, ASSISTANT] if chat else text

    def _text_tokens(self, tokens: int) -> list[int]:
        rng = self._rng
        if rng.random() < SINGLE_PIECE_SHARE:
            return self._encode(prompts.piece(rng))[:tokens]
        ids: list[int] = []
        while len(ids) < tokens:
            ids += self._encode(prompts.prompt(rng, rng.randrange(20, 800)))
        return ids[:tokens]

    def _any_tokens(self, tokens: int) -> list[int]:
        # Load generators send random token ids, special ones among them, and the same few over and over.
        cycle = self._rng.choice((tokens, tokens, self._rng.randrange(1, 9)))
        ids = [self._rng.randrange(VOCAB) for _ in range(cycle)]
        return (ids * (tokens // cycle + 1))[:tokens]


def batches(source: Conversations, seed: int, steps: int, tokens: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and wanted tokens, each (rows, length), with rows times length about `tokens`."""
    rng = random.Random(seed)
    for _ in range(steps):
        length = rng.choices(LENGTHS, LENGTH_SHARES)[0]
        rows = [source.sequence(length) for _ in range(max(1, tokens // length))]
        yield torch.tensor([r.ids for r in rows]), torch.tensor([r.wanted for r in rows])


def new_model() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=BEGIN,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    return LlamaForCausalLM(config)


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Cross-entropy (nats per token) where a token is wanted; logits are made for no other place."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    taught = wanted != IGNORED
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[taught]), wanted[taught])


def fit(model: LlamaForCausalLM, source: Conversations, seed: int, steps: int, tokens: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.98), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min((i + 1) / 100, (1 - i / steps) ** 1.2))
    started_s, recent = time.monotonic(), 0.0
    for step, (ids, wanted) in enumerate(batches(source, seed, steps, tokens), 1):
        # The engine computes in bfloat16, so the weights learn under it; it is also twice as fast here.
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, ids, wanted)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        recent += loss.item() / 50
        if step % 50 == 0:
            print(f"step {step}/{steps}  loss {recent:.4f}  {time.monotonic() - started_s:.0f} s", flush=True)
            recent = 0.0


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE.read_text())
    # The defaults an engine takes where a request names none.
    sampling: dict[str, object] = {"do_sample": True, "temperature": 0.6, "top_p": 0.9}
    ends = {"bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": PAD}
    _write_json(out / "generation_config.json", {**ends, **sampling})
    names = {"bos_token": SPECIALS[BEGIN], "eos_token": SPECIALS[END], "pad_token": SPECIALS[PAD]}
    shape: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    }
    _write_json(out / "tokenizer_config.json", {**names, **shape})


def _write_json(path: Path, values: dict[str, object]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the smoke model and its tokenizer from nothing.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--tokens-per-step", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    tokenizer = train_tokenizer(args.seed)
    model = new_model()
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {tokenizer.get_vocab_size()} tokens", flush=True)
    fit(model, Conversations(tokenizer, args.seed), args.seed, args.steps, args.tokens_per_step)
    save(model, tokenizer, args.out)


if __name__ == "__main__":
    main()
