"""The shapes that an engine of a want may have on GPUs of one kind, with what each takes. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engines.gpus.gpu import Gpu
from engines.memory import cards, measured, ollama
from engines.memory.footprint import Footprint, footprint
from engines.memory.kv import KvLayout
from engines.memory.shape import Shape
from engines.placement.bounds import batches, requests
from engines.placement.room import STEPS, margin_bytes, share_bytes, steps_for
from engines.placement.want import Rules, Want

OLLAMA = "ollama"


@dataclass(frozen=True, slots=True)
class Cut:
    """One shape on one kind of GPU. `promised_bytes` is the smallest pool that keeps the promise, `floor_bytes` all
    that the engine takes of each GPU with that pool. An engine that does not `grow` has that pool and no larger one.
    `least_cuda_bytes` and `most_cuda_bytes` are those of the smallest and the largest of its GPUs. Of the floor
    `headroom_bytes` are not taken, but must be free when the engine starts.
    """

    shape: Shape
    footprint: Footprint
    promised_bytes: int
    floor_bytes: int
    grows: bool
    counts_steps: bool
    least_cuda_bytes: int
    most_cuda_bytes: int
    headroom_bytes: int = 0

    def settled(self, pool_bytes: int) -> tuple[int, float | None]:
        """The pool rounded to what a utilization of four decimals gives, never more, and that utilization.

        Such a share of the largest of its GPUs takes no more than `pool_bytes` asked for; the smallest bounds the pool.
        """
        if not self.counts_steps:
            return self.promised_bytes, None
        inside = self.footprint.inside_bytes
        least = steps_for(inside + self.promised_bytes, self.least_cuda_bytes)
        steps = max(least, (inside + pool_bytes) * STEPS // self.most_cuda_bytes)
        grown = share_bytes(steps, self.least_cuda_bytes) - inside
        return (grown if self.grows else self.promised_bytes), steps / STEPS


def cuts_on(want: Want, size: int, members: Sequence[Gpu], rules: Rules) -> tuple[Cut, ...] | str:
    """Richest first; or why these GPUs cannot run the model."""
    if want.engine == OLLAMA:
        return (_ollama_cut(want, size, members, rules),)
    smallest = min(members, key=lambda gpu: gpu.cuda_bytes)
    shapes = [want.shape(size, *batch) for batch in batches(want, smallest, size)]
    if fault := cards.refusal(want.model, shapes[0], smallest):
        return fault
    cuts = [cut_of(want, shape, members, smallest, rules) for shape in shapes]
    if want.kv_blocks is not None and (fault := _too_few_blocks(want, cuts[-1].footprint.kv)):
        return fault
    return tuple(_worth(cuts))


def _worth(cuts: Iterable[Cut]) -> Iterable[Cut]:
    """Without those that take no less than a richer one: a measured batch may well take less than an estimated one."""
    least = None
    for cut in cuts:
        if least is None or cut.floor_bytes < least:
            least = cut.floor_bytes
            yield cut


def cut_of(want: Want, shape: Shape, members: Sequence[Gpu], smallest: Gpu, rules: Rules) -> Cut:
    """What vLLM takes in exactly this shape on these GPUs, of which one is the smallest."""
    key = measured.key_of(rules.engine, want.model.identity(), shape, smallest.name, want.extra_args)
    taken = footprint(want.model, shape, smallest, measured.find(rules.measured, key))
    promised = promised_bytes(want, taken.kv)
    most = max(gpu.cuda_bytes for gpu in members)
    steps = steps_for(taken.inside_bytes + promised, smallest.cuda_bytes)
    floor = taken.outside_bytes + share_bytes(steps, most)
    return Cut(shape, taken, promised, floor, want.kv_blocks is None, True, smallest.cuda_bytes, most)


def _ollama_cut(want: Want, size: int, members: Sequence[Gpu], rules: Rules) -> Cut:
    """Ollama takes the cache of all its parallel requests when it loads the model, and no more later."""
    slots = requests(want)
    taken = ollama.footprint(want.model, want.context_tokens, slots, size)
    promised = taken.kv.bytes_for(slots)
    needed = taken.outside_bytes + taken.inside_bytes + promised
    headroom = max(0, _free_at_start(want, members[0], rules) - needed) if size == 1 else 0
    cuda_bytes = [gpu.cuda_bytes for gpu in members]
    shape = want.shape(size, want.max_num_batched_tokens or want.context_tokens, slots)
    floor = needed + headroom
    return Cut(shape, taken, promised, floor, False, False, min(cuda_bytes), max(cuda_bytes), headroom)


def _free_at_start(want: Want, gpu: Gpu, rules: Rules) -> int:
    """What others must leave of the GPU, besides what nobody is given, so that Ollama puts all of the model there: its
    prediction may be a share of what it then sees free, and no more. What is kept back is free for it to see."""
    predicted = ollama.predicted_bytes(want.model, want.context_tokens, requests(want))
    return math.ceil(predicted / ollama.ONE_GPU_SHARE) - margin_bytes(gpu) - rules.reserve_bytes


def promised_bytes(want: Want, kv: KvLayout) -> int:
    """The smallest pool that keeps the promise: never less than vLLM's own check at the start asks for, one request of
    the full context and the null block (0.33, v1/core/kv_cache_utils.py, get_kv_cache_configs)."""
    if want.kv_blocks is not None:
        return want.kv_blocks * kv.block_bytes
    if want.kv_tokens is None:
        return kv.bytes_for(requests(want))
    blocks = kv.bytes_for(1) // kv.block_bytes
    most = max(blocks, 2)
    while kv.tokens_in(most * kv.block_bytes) < want.kv_tokens:
        most *= 2
    while blocks < most:
        middle = (blocks + most) // 2
        enough = kv.tokens_in(middle * kv.block_bytes) >= want.kv_tokens
        blocks, most = (blocks, middle) if enough else (middle + 1, most)
    return blocks * kv.block_bytes


def _too_few_blocks(want: Want, kv: KvLayout) -> str | None:
    needed = kv.bytes_for(requests(want)) // kv.block_bytes
    if want.kv_blocks is None or want.kv_blocks >= needed:
        return None
    return (
        f"kv_blocks = {want.kv_blocks} is fewer than the {needed} blocks of {requests(want)} request(s) of "
        f"{want.context_tokens} tokens."
    )
