"""From a Plan and what led to it to the one value that is shown of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from engines.gpus.gpu import Gpu, Gpus, Health, Path
from engines.gpus.islands import islands
from engines.kinds import vllm
from engines.kinds.registry import kind_of
from engines.page.view import SCHEMA, Card, Elsewhere, EngineLine, Host, Part, PartKind, PlanView, Source, Term, Unfit
from engines.placement.place import Unplaced
from engines.placement.room import foreign_bytes, margin_bytes
from engines.placement.want import Rules, Want
from engines.plan import CPU, EnginePlan, Plan

HOT_C = 85
# Of an engine's environment: where it runs, and how much it may take. Ollama knows its bounds from nothing else.
SHOWN = (
    *("CUDA_VISIBLE_DEVICES", "VLLM_CPU_", "VLLM_SERVER_DEV_MODE", "LLAMA_ARG_FIT_TARGET", "OLLAMA_HOST"),
    *("OLLAMA_CONTEXT_LENGTH", "OLLAMA_NUM_PARALLEL", "OLLAMA_KV_CACHE_TYPE", "OLLAMA_SCHED_SPREAD"),
)


def view_of(
    plan: Plan,
    gpus: Gpus,
    unplaced: Sequence[Unplaced],
    wants: Sequence[Want],
    rules: Rules,
    host_bytes: int | None = None,
) -> PlanView:
    """All that is shown of a plan: `wants` say what was promised, `rules` what is kept free and who else is there."""
    promised = {want.name: promised_requests(want) for want in wants}
    engines = tuple(
        _engine(engine, gpus.seen, promised.get(engine.model), partners(engine, plan.engines))
        for engine in plan.engines
    )
    joined = _islands(gpus.seen)
    return PlanView(
        schema=SCHEMA,
        profile=plan.profile,
        endpoint=f"http://{plan.router.host}:{plan.router.port}/v1",
        driver=gpus.driver,
        why_no_gpu=gpus.why_none,
        host=None if host_bytes is None else _host(host_bytes, engines),
        faults=gpus.faults,
        gpus=tuple(_card(number, gpu, joined.get(gpu.uuid), engines, rules) for number, gpu in enumerate(gpus.seen)),
        engines=engines,
        unplaced=tuple(Unfit(each.name, each.want, each.needs, each.ways) for each in unplaced),
        elsewhere=tuple(
            Elsewhere(each.name, each.url, tuple(ours for ours, _ in each.models)) for each in plan.externals
        ),
    )


def promised_requests(want: Want) -> float | None:
    """Requests of the full context that each engine promises to hold at once."""
    if want.concurrent_requests is not None:
        return float(want.concurrent_requests)
    return None if want.kv_tokens is None else want.kv_tokens / want.context_tokens


def _islands(gpus: Sequence[Gpu]) -> dict[str, int]:
    """Number of the island by UUID, of those islands that NVLink makes."""
    by_nvlink = {(gpu.uuid, link.peer_uuid) for gpu in gpus for link in gpu.links if link.path is Path.NVLINK}
    joined = [island for island in islands(gpus) if any((one, two) in by_nvlink for one in island for two in island)]
    return {uuid: number for number, island in enumerate(joined) for uuid in island}


def _card(number: int, gpu: Gpu, island: int | None, engines: Sequence[EngineLine], rules: Rules) -> Card:
    mine = [engine for engine in engines if number in engine.gpus]
    others = [
        Part(PartKind.FOREIGN, foreign_bytes(gpu, rules)),
        Part(PartKind.DRIVER, gpu.reserved_bytes or 0),
    ]
    taken = [part for engine in mine if not engine.is_alternate for part in _parts(engine)]
    parts, over_bytes = _filled([*taken, *others], rules.reserve_bytes + margin_bytes(gpu), gpu.total_bytes)
    return Card(
        number=number,
        uuid=gpu.uuid,
        name=gpu.name,
        total_bytes=gpu.total_bytes,
        capability=None if gpu.capability is None else ".".join(map(str, gpu.capability)),
        parent_uuid=gpu.parent_uuid,
        island=island,
        is_declared=gpu.is_declared,
        parts=parts,
        over_bytes=over_bytes,
        notes=tuple(_notes(gpu.health)),
        turns=tuple(part for engine in mine if engine.is_alternate for part in _parts(engine)),
    )


def _host(total_bytes: int, engines: Sequence[EngineLine]) -> Host | None:
    here = [engine for engine in engines if engine.cores]
    if not here:
        return None
    taken, turns = (
        [part for engine in here if engine.is_alternate is last for part in _parts(engine, engine.tensor_parallel)]
        for last in (False, True)
    )
    parts, over_bytes = _filled(taken, 0, total_bytes)
    cores = tuple(sorted({core for engine in here for core in engine.cores}))
    return Host(total_bytes, cores, parts, over_bytes, tuple(turns))


def _parts(engine: EngineLine, workers: int = 1) -> list[Part]:
    """What one engine takes of one GPU, or in so many workers."""
    kinds = (PartKind.WEIGHTS, PartKind.KV, PartKind.OVERHEAD)
    sizes = {kind: sum(term.bytes for term in engine.terms if term.part is kind) for kind in kinds}
    return [Part(kind, size * workers, engine.name) for kind, size in sizes.items()]


def _filled(taken: Sequence[Part], kept_bytes: int, total_bytes: int) -> tuple[tuple[Part, ...], int]:
    """What is taken, what of the rest is kept free and what is simply free; and by how much it is more than all."""
    rest = total_bytes - sum(part.bytes for part in taken)
    kept = min(kept_bytes, max(0, rest))
    parts = (*taken, Part(PartKind.KEPT, kept), Part(PartKind.FREE, max(0, rest - kept)))
    return tuple(part for part in parts if part.bytes), max(0, -rest)


def _notes(health: Health) -> list[str]:
    """What of its health is worth a word."""
    said = [f"slowed down: {', '.join(health.throttles)}"] if health.throttles else []
    if health.temperature_c is not None and health.temperature_c >= HOT_C:
        said.append(f"{health.temperature_c} C")
    if health.uncorrected_ecc_errors:
        said.append(f"{health.uncorrected_ecc_errors} uncorrected ECC errors")
    if health.remap_failed:
        said.append("memory rows could not be remapped: have it replaced")
    elif health.remap_pending:
        said.append("memory rows wait to be remapped: reset it")
    if health.recovery not in (None, "none"):
        said.append(f"the driver asks for: {health.recovery}")
    return said


def partners(engine: EnginePlan, engines: Sequence[EnginePlan]) -> tuple[str, ...]:
    """The names of those that it takes turns with: they are on its devices, and not all of them fit at once."""
    return tuple(
        other.name
        for other in engines
        if other.name != engine.name
        and not (engine.keep or other.keep)
        and (engine.is_alternate or other.is_alternate)
        and set(engine.gpu_uuids or (CPU,)) & set(other.gpu_uuids or (CPU,))
    )


def _engine(engine: EnginePlan, gpus: Sequence[Gpu], promised: float | None, turns_with: tuple[str, ...]) -> EngineLine:
    mine = [number for number, gpu in enumerate(gpus) if gpu.uuid in engine.gpu_uuids]
    of_bytes = min((gpus[number].cuda_bytes for number in mine), default=None)
    return EngineLine(
        name=engine.name,
        model=engine.model,
        kind=engine.kind,
        runtime=f"{engine.runtime.name} {engine.runtime.version}".strip(),
        port=engine.port,
        gpus=tuple(mine),
        cores=engine.cores,
        tensor_parallel=engine.shape.tensor_parallel,
        context_tokens=engine.shape.context_tokens,
        environment=_environment(engine),
        command=tuple(_command(engine)),
        terms=_terms(engine),
        utilization=engine.gpu_memory_utilization,
        utilization_of_bytes=None if engine.gpu_memory_utilization is None else of_bytes,
        kv_tokens=engine.sum.kv_tokens,
        kv_bytes_per_token=engine.sum.kv_bytes_per_token,
        requests_at_once=engine.sum.requests_at_once,
        promised_requests=promised,
        max_num_seqs=engine.shape.max_num_seqs,
        max_num_batched_tokens=engine.shape.max_num_batched_tokens,
        max_num_queued_reqs=engine.max_num_queued_reqs,
        keep=engine.keep,
        turns_with=turns_with,
        is_alternate=engine.is_alternate,
        may_sleep=engine.may_sleep,
        headroom_bytes=engine.sum.headroom_bytes,
    )


def _environment(engine: EnginePlan) -> dict[str, str]:
    ours = kind_of(engine).environment(engine, {}, "", engine.port)
    return {name: ours[name] for shown in SHOWN for name in ours if name.startswith(shown)}


def _command(engine: EnginePlan) -> Sequence[str]:
    return vllm.command(engine, engine.port) if engine.kind == "vllm" else engine.runtime.command


def _terms(engine: EnginePlan) -> tuple[Term, ...]:
    """The sum: what is within the utilization, the KV cache last of it, then what is outside. What is not there (graphs
    of an eager engine) is no term."""
    of = engine.sum
    context = "CUDA context, NCCL" if engine.shape.tensor_parallel > 1 else "CUDA context"
    estimates = (
        ("weights", of.weights_bytes, "weights_bytes", PartKind.WEIGHTS, True),
        ("activations", of.activation_bytes, "activation_bytes", PartKind.OVERHEAD, True),
        ("CUDA graphs", of.graph_bytes, "graph_bytes", PartKind.OVERHEAD, True),
        (context if engine.gpu_uuids else "process", of.outside_bytes, "outside_bytes", PartKind.OVERHEAD, False),
    )
    terms = [
        Term(name, size, Source.MEASURED if key in of.measured else Source.ESTIMATED, part, is_inside)
        for name, size, key, part, is_inside in estimates
        if size
    ]
    kv = Term("KV cache", of.kv_bytes, Source.PLANNED, PartKind.KV, True)
    return (*(term for term in terms if term.is_inside), kv, *(term for term in terms if not term.is_inside))
