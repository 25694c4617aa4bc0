"""What is shown of an engine."""

from __future__ import annotations

import time
from dataclasses import dataclass

from engines.life.course import Course
from engines.life.holding import Holding
from engines.life.run import Run
from engines.life.site import Site
from engines.life.trials import Trials
from engines.snapshot import EngineView


@dataclass(frozen=True, slots=True)
class Sitter:
    """The parts of one engine. `run` is None while it has no process, `holding` while nobody has read its memory."""

    course: Course
    trials: Trials
    run: Run | None
    holding: Holding | None


def portrait(sitter: Sitter, site: Site) -> EngineView:
    """What is known now. Ages are counted up to this moment."""
    course, trials, run = sitter.course, sitter.trials, sitter.run
    plan = run.plan if run else trials.plan
    url = run.pulse.url if run else ""
    return EngineView(
        name=plan.name,
        model=plan.model,
        kind=plan.kind,
        state=course.state,
        url=url,
        device=plan.device,
        context_tokens=plan.shape.context_tokens,
        pid=run.pid if run else None,
        in_state_s=round(course.in_state_s, 3),
        restarts=course.life.restarts,
        last_error=(run.pulse.fault if run else None) or trials.last_error,
        load=run.pulse.load(time.monotonic(), site.use(url)) if run else None,
        progress=course.progress,
        changes=trials.changes,
        failed_starts=trials.failed,
        served_name=plan.served_name or plan.model,
        slots=plan.slots,
        weight=site.weight(plan.gpu_uuids),
        is_adopted=run.is_adopted if run else False,
        memory_bytes=sitter.holding.memory_bytes if sitter.holding else None,
        memory_age_s=sitter.holding.age_s if sitter.holding else None,
        max_num_seqs=plan.shape.max_num_seqs,
        max_num_batched_tokens=plan.shape.max_num_batched_tokens,
    )
