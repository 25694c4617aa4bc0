"""What stack a fault needs: which engines, how many workers each, what lies around them. Pure: wishes in, text out.

It must not know processes or faults.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

MODEL = "smoke"
SECOND = "second"
CLOUD = "stand-in"
KEY_ENV = "SPILLWAY_STAND_IN_KEY"
# Who may go to the cloud, and who stays at home whatever happens there.
MAY_SPILL = "standard"
STAYS = "bulk"


class Engines(StrEnum):
    """Who answers: vLLM on the processor, a fake one under the same supervisor, or a fake one on GPUs of a double."""

    REAL = "real"
    FAKE = "fake"
    GPUS = "gpus"


@dataclass(frozen=True, slots=True)
class Scenery:
    """Faults with the same scenery may share a stack. `clock`: the clock of its processes can be shifted;
    `full_logs`: what is written into its logs finds no room; `own_files`: the model lies in a folder of the stage."""

    engines: Engines = Engines.FAKE
    tensor_parallel: int = 1
    clock: bool = False
    full_logs: bool = False
    own_files: bool = False

    @property
    def words(self) -> str:
        """What the table calls it."""
        if self.engines is Engines.REAL:
            return "vLLM" if self.tensor_parallel == 1 else f"vLLM, {self.tensor_parallel} workers"
        return "fake" if self.engines is Engines.FAKE else "fake, 2 GPUs"


STACK = """\
[endpoint]
host = "127.0.0.1"
port = {port}

{models}
[tiers.bulk]
ttft_target_s = 20.0
order = ["local"]
may_spill = false

[tiers.standard]
ttft_target_s = {promise_s}
order = ["local", "cloud"]
may_spill = true

[tiers.premium]
ttft_target_s = {promise_s}
order = ["cloud", "local"]
may_spill = true

[clouds.stand-in]
model = "openai/stand-in"
serves = {served}
base_url = "{cloud_url}/v1"
key_env = "{key_env}"
input_usd_per_mtok = 0.15
output_usd_per_mtok = 0.60
context_tokens = 128000

[limits]
default_tier = "standard"
max_wait_s = 60.0
cloud_usd_per_day = 10.0
drain_s = 10.0
"""


@dataclass(frozen=True, slots=True)
class Table:
    """One `[models.NAME]` of the stage's stack.toml."""

    name: str = MODEL
    source: str = "builtin:smoke"
    max_num_seqs: int = 64
    tensor_parallel: int = 1
    kv_blocks: int | None = 64
    drain_s: float = 30.0

    def text(self) -> str:
        """As it stands in the file."""
        lines = [f"[models.{self.name}]", f'source = "{self.source}"', 'engine = "vllm"']
        lines += ["context_tokens = 4096", f"max_num_seqs = {self.max_num_seqs}"]
        lines += [f"tensor_parallel = {self.tensor_parallel}", "cpu_kv_cache_gib = 1", f"drain_s = {self.drain_s}"]
        lines += [] if self.kv_blocks is None else [f"kv_blocks = {self.kv_blocks}"]
        return "\n".join(lines) + "\n"


def stack_text(tables: Sequence[Table], port: int, cloud_url: str, promise_s: float = 2.0) -> str:
    """A whole stack.toml."""
    return STACK.format(
        port=port,
        models="\n".join(table.text() for table in tables),
        promise_s=promise_s,
        served="[" + ", ".join(f'"{table.name}"' for table in tables) + "]",
        cloud_url=cloud_url,
        key_env=KEY_ENV,
    )


def lock_text(shipped: str, source: str = "builtin:smoke") -> str:
    """The shipped models.lock with nothing but the smoke model, twice: under its own name and as `second`.

    Raises ValueError where the shipped one has no smoke model.
    """
    head, mark, rest = shipped.partition(f"[models.{MODEL}]")
    if not mark:
        raise ValueError("models.lock has no [models.smoke]: run `make lock` with the shipped stack.toml")
    # Its tables end where another model begins.
    own = re.split(rf"(?m)^\[+models\.(?!{MODEL}[\].])", mark + rest)[0]
    own = re.sub(r'(?m)^source = ".*"$', f'source = "{source}"', own, count=1)
    own = re.sub(r"(?m)^twin = .*\n", "", own)
    return f"{head}{own}\n{own.replace(f'models.{MODEL}', f'models.{SECOND}')}"
