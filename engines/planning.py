"""From a Stack to the Plan a supervisor runs: what is asked of the placement, and what its answer means as engines.

Reads the hardware and what earlier starts have told; decides nothing of the placement itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engines import home
from engines.before import places_before, ran_before
from engines.config import Wanted, WantedModel
from engines.foreign import foreign_bytes
from engines.gpus.gpu import Gpu, Gpus
from engines.gpus.nvml import read_gpus
from engines.host import read_host, usable_cores
from engines.kinds import ollama
from engines.memory import cards, measured
from engines.memory.kv import bytes_per_token
from engines.models.lock import model_view
from engines.models.locked import model_folder, tokenizer_file
from engines.models.ollama_names import TAG
from engines.placement.partners import with_turn_ways
from engines.placement.place import Placed, Placement
from engines.placement.remedies import explained
from engines.placement.steady import steady
from engines.placement.turns import on_cpu, on_gpus, take_turns
from engines.placement.want import Rules, Want
from engines.plan import CPU, GIB, EnginePlan, ExternalPlan, Plan, PlanError, RouterPlan, Runtime, Source, Sum
from engines.stack import Stack

# Below the range from which Linux takes ports for outgoing connections.
FIRST_PORT = 20_000
PORTS = 10_000
# Of the host's memory the part that may hold the weights of engines that sleep: the rest is for the processes of all
# engines, and for the page cache, out of which those that start read theirs.
SLEEP_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and all that led to it. With something in `placement.unplaced` the plan holds only the rest."""

    plan: Plan
    placement: Placement
    wants: tuple[Want, ...]
    gpus: Gpus
    rules: Rules


def planned(stack: Stack, router: RouterPlan, at: Path, without: tuple[str, ...] = ()) -> Planned:
    """Place what is wanted on the hardware as it is now (or as it is declared); what does not fit is explained.

    `without` are UUIDs of GPUs on which nothing may start, though the driver has no word against them."""
    gpus = _gpus(stack, without)
    wants = tuple(want_of(name, model, stack) for name, model in stack.wanted.models.items())
    rules = _rules(stack, gpus.seen, at)
    host_bytes = read_host().total_bytes
    if gpus.seen and wants:
        fit = _fit(gpus, without)
        sleep_bytes = 0 if stack.is_declared else int(host_bytes * SLEEP_SHARE)
        kept = places_before(at)
        found = explained(take_turns(wants, on_gpus(fit, rules), kept, sleep_bytes), wants, fit, rules)
        found = steady(found, wants, fit, rules, ran_before(at, wants), kept)
    else:
        machine = on_cpu(usable_cores(), host_bytes, rules)
        found = with_turn_ways(take_turns(wants, machine), wants, machine)
    by_name = {want.name: want for want in wants}
    ports = _ports([each.name for each in found.placed], at)
    engines = tuple(_engine(each, by_name[each.want], stack, gpus.seen, ports[each.name]) for each in found.placed)
    plan = Plan(
        fingerprint=stack.fingerprint,
        profile="gpu" if gpus.seen else "cpu",
        engines=engines,
        models=tuple(
            model_view(want.name, want.model, want.context_tokens, tokenizer_file(want.model)) for want in wants
        ),
        router=router,
        externals=_externals(stack.wanted),
        source=None if stack.is_declared else _source(stack),
        without=without,
    )
    return Planned(plan, found, wants, gpus, rules)


def _gpus(stack: Stack, without: Sequence[str]) -> Gpus:
    """Those that may be used, with a word for each that is left out."""
    if stack.is_declared or not stack.gpus.seen:
        return stack.gpus
    gpus = usable(_seen_again(), stack.wanted)
    return replace(gpus, faults=(*gpus.faults, *_left_out(gpus.seen, without)))


def _left_out(gpus: Sequence[Gpu], without: Sequence[str]) -> list[str]:
    return [
        f"GPU {gpu.uuid} ({gpu.name}) is in quarantine: nothing new starts there."
        for gpu in gpus
        if gpu.uuid in without
    ]


def _externals(wanted: Wanted) -> tuple[ExternalPlan, ...]:
    return tuple(
        ExternalPlan(name, each.url, each.key_env, tuple((each.models or {}).items()), each.context_tokens)
        for name, each in wanted.externals.items()
    )


def _source(stack: Stack) -> Source:
    """Absolute, because the supervisor may run in another folder."""
    asked = stack.asked
    return Source(str(asked.config.absolute()), str(asked.lock.absolute()), asked.profile)


def _seen_again() -> Gpus:
    """The GPUs as they are now. Raises PlanError where none is left, because the runtime was chosen for them: it
    starts nothing on the processor."""
    gpus = read_gpus()
    if not gpus.seen:
        raise PlanError(f"the GPUs that were there a moment ago cannot be used any more: {gpus.why_none}")
    return gpus


def _fit(gpus: Gpus, without: Sequence[str]) -> tuple[Gpu, ...]:
    """Those on which something may start. Raises PlanError where there are GPUs and none is fit."""
    fit = tuple(gpu for gpu in gpus.fit() if gpu.uuid not in without)
    if not fit:
        raise PlanError("\n".join(["no GPU here can take an engine:", *gpus.faults]))
    return fit


def startable(stack: Stack, router: RouterPlan, at: Path, without: tuple[str, ...] = ()) -> Plan:
    """The plan, if all of it can start. Raises PlanError, which names the file and every model that cannot, and the
    GPUs that it does `without`."""
    if stack.is_declared:
        raise PlanError("GPUs that are only declared can be planned for (`spillway plan`), but nothing starts on them.")
    found = planned(stack, router, at, without)
    if found.placement.unplaced:
        lines = [refusal_words(each.want, each.needs, each.ways) for each in found.placement.unplaced]
        said = [f"{stack.asked.config}: {line}" for line in lines]
        raise PlanError("\n".join([*said, *_left_out(found.gpus.seen, without)]))
    if (needing := [each for each in found.wants if each.engine == "ollama"]) and ollama.find_binary() is None:
        raise PlanError(f"{stack.asked.config}: [models.{needing[0].name}] engine = 'ollama', but {ollama.MISSING}")
    return found.plan


def refusal_words(want: str, needs: str, ways: Sequence[str]) -> str:
    """Why one model has no place, in a line: what it needs, and what would fit."""
    fits = f" Fits with: {' | '.join(ways)}." if ways else ""
    return f"[models.{want}] {needs.rstrip('.')}.{fits}"


def usable(gpus: Gpus, wanted: Wanted) -> Gpus:
    """The GPUs that `[gpus] use` allows. Raises PlanError for one that is not there."""
    chosen = wanted.gpus.use
    for start in chosen:
        if gpus.seen and not any(gpu.uuid.startswith(start) for gpu in gpus.seen):
            there = ", ".join(f"{gpu.uuid} ({gpu.name})" for gpu in gpus.seen)
            raise PlanError(f"[gpus] use names {start!r} and no GPU's UUID begins so; there are: {there}.")
    seen = tuple(gpu for gpu in gpus.seen if not chosen or gpu.uuid.startswith(chosen))
    return replace(gpus, seen=seen)


def want_of(name: str, model: WantedModel, stack: Stack) -> Want:
    """One `[models.*]` table with its locked facts."""
    locked = stack.lock.models[name]
    return Want(
        name=name,
        model=locked,
        context_tokens=model.context_tokens,
        engine=model.engine,
        concurrent_requests=model.concurrent_requests,
        kv_tokens=model.kv_tokens,
        replicas=model.replicas,
        ttft_target_s=stack.wanted.tier_ttft_s.get(model.tier or ""),
        tensor_parallel=model.tensor_parallel,
        quantization=model.quantization,
        kv_cache_dtype=model.kv_cache_dtype,
        max_num_seqs=model.max_num_seqs,
        max_num_batched_tokens=model.max_num_batched_tokens,
        enforce_eager=model.enforce_eager,
        kv_blocks=model.kv_blocks,
        cpu_kv_cache_gib=model.cpu_kv_cache_gib,
        extra_args=model.extra_args,
        keep=model.keep,
    )


def _rules(stack: Stack, gpus: Sequence[Gpu], at: Path) -> Rules:
    return Rules(
        engine=f"{stack.runtime.name} {stack.runtime.version}",
        reserve_bytes=int(stack.wanted.gpus.reserve_gib * GIB),
        foreign_bytes=foreign_bytes(gpus, at),
        measured=measured.read(home.measured_path(at)),
    )


def _ports(names: Sequence[str], at: Path) -> Mapping[str, int]:
    """A port for each engine: the same one at every start of this home, and another one in another home."""
    ports: dict[str, int] = {}
    for name in names:
        port = FIRST_PORT + zlib.crc32(f"{at}/{name}".encode()) % PORTS
        while port in ports.values():
            port += 1
        ports[name] = port
    return ports


def _engine(placed: Placed, want: Want, stack: Stack, gpus: Sequence[Gpu], port: int) -> EnginePlan:
    mine = [gpu for gpu in gpus if gpu.uuid in placed.gpu_uuids]
    runtime = Runtime(stack.runtime.name, stack.runtime.version, stack.runtime.command())
    asked = stack.wanted.models[want.name]
    is_ollama = want.engine == "ollama"
    return EnginePlan(
        name=placed.name,
        kind=want.engine,
        runtime=_ollama_runtime() if is_ollama else runtime,
        model=want.name,
        folder=_folder(want),
        revision=want.model.identity(),
        dtype=cards.dtype_on(want.model, mine[0]) if mine else want.model.architecture.dtype,
        device=",".join(placed.gpu_uuids) or CPU,
        gpu_uuids=placed.gpu_uuids,
        gpu_name=mine[0].name if mine else CPU,
        cores=() if mine else tuple(usable_cores()),
        shape=placed.shape,
        gpu_memory_utilization=placed.utilization,
        kv_blocks=want.kv_blocks,
        cpu_kv_cache_gib=want.cpu_kv_cache_gib,
        max_num_queued_reqs=placed.max_num_queued_reqs,
        port=port,
        extra_args=want.extra_args,
        sum=_sum(placed, want),
        served_name=ollama.pinned_name(_folder(want), want.model.identity()) if is_ollama else want.name,
        keep=asked.keep,
        min_residence_s=asked.min_residence_s,
        may_sleep=placed.may_sleep or is_ollama,
        is_alternate=placed.is_alternate,
        drain_s=asked.drain_s,
        slots=placed.shape.max_num_seqs if is_ollama else None,
    )


def _ollama_runtime() -> Runtime:
    """Under its bare name where it is not there: then nothing starts."""
    return Runtime("ollama", "", (str(ollama.find_binary() or "ollama"), "serve"))


def _folder(want: Want) -> str:
    """Where the files are; for Ollama, which keeps its own, the name with its tag, as it lists it (0.33,
    types/model/name.go)."""
    if want.engine != "ollama":
        return str(model_folder(want.model))
    name = want.model.source.removeprefix("ollama:")
    return name if ":" in name.rpartition("/")[2] else f"{name}:{TAG}"


def _sum(placed: Placed, want: Want) -> Sum:
    footprint = placed.footprint
    return Sum(
        weights_bytes=footprint.weights_bytes,
        activation_bytes=footprint.activation_bytes,
        graph_bytes=footprint.graph_bytes,
        outside_bytes=footprint.outside_bytes,
        kv_bytes=placed.kv_bytes,
        kv_tokens=footprint.kv.tokens_in(placed.kv_bytes),
        kv_bytes_per_token=bytes_per_token(want.model.architecture, placed.shape),
        requests_at_once=footprint.kv.requests_in(placed.kv_bytes),
        measured=tuple(sorted(footprint.measured)),
        headroom_bytes=placed.headroom_bytes,
    )
