"""The smoke model's folder and sentences, without an engine: size, shape, tokenizer, and seeded generators."""

import json
import random

from engines.smoke import MODEL_DIR, prompts
from engines.smoke.sentences import answer

# Head sizes that vLLM's attention for processors has kernels for.
CPU_HEAD_SIZES = {32, 64, 80, 96, 112, 128, 160, 192, 224, 256}


def test_the_folder_stays_within_four_megabytes() -> None:
    assert sum(path.stat().st_size for path in MODEL_DIR.iterdir()) <= 4_000_000


def test_the_architecture_splits_over_two_devices_and_suits_a_processor() -> None:
    config = json.loads((MODEL_DIR / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["dtype"] == "bfloat16"
    assert config["max_position_embeddings"] == 4096
    assert config["head_dim"] in CPU_HEAD_SIZES
    assert config["num_attention_heads"] % 2 == config["num_key_value_heads"] % 2 == 0
    assert config["vocab_size"] % 64 == 0


def test_the_tokenizer_has_a_token_for_every_byte_and_the_model_for_every_token() -> None:
    config = json.loads((MODEL_DIR / "config.json").read_text())
    tokenizer = json.loads((MODEL_DIR / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    assert sum(len(token) == 1 for token in vocabulary) == 256
    assert len(vocabulary) == config["vocab_size"]
    assert vocabulary["<|end|>"] == config["eos_token_id"]


def test_one_seed_gives_the_same_answers_and_prompts() -> None:
    def said(seed: int) -> list[str]:
        rng = random.Random(seed)
        return [text for _ in range(50) for text in (answer(rng), prompts.prompt(rng, 300), prompts.system(rng))]

    assert said(3) == said(3)
    assert said(3) != said(4)


def test_every_answer_names_the_smoke_model_and_the_way_to_replace_it() -> None:
    rng = random.Random(11)
    for said in (answer(rng) for _ in range(500)):
        assert "smoke" in said
        for step in ("compose/stack.toml", "[models.<name>]", "`make lock`", "`make up`"):
            assert step in said
