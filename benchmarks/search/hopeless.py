"""When a load need not be measured to its end: the promise is broken already, whatever is still to come. Pure.

An overload ends long after its last request was sent, when the whole queue is served; most of a search would be spent
there. What the answers so far prove is counted against all the requests of the load, those that are not there yet as
kept, so that only a certain break ends it.
"""

from __future__ import annotations

from benchmarks.drive.progress import Progress
from benchmarks.figures.promise import Promise
from benchmarks.workload.spec import Spec

# What is cut off at the beginning of a run as warm-up is at most three tenths of it, and must not condemn it.
LEAST_SHARE = 0.4
FEWEST = 5


def is_hopeless(promise: Promise, spec: Spec, progress: Progress, elapsed_s: float) -> bool:
    """Whether this load can no longer keep the promise, by the times to first token of the last answers."""
    limit_s = promise.limits_s.get("ttft_s")
    if limit_s is None or spec.rate is None or spec.duration_s is None or elapsed_s < LEAST_SHARE * spec.duration_s:
        return False
    sent = progress.sent if not progress.is_sending else max(progress.sent, spec.rate * spec.duration_s)
    late = sum(ttft_s > limit_s for ttft_s in progress.recent_ttft_s)
    # Half as many again, as arrivals come by chance.
    return late >= max(FEWEST, 1.5 * (1 - promise.share) * sent + 1)
