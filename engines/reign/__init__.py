"""What makes the supervisor: that it is the only one, what it plans anew, what it keeps alive beside engines.

reign      the one supervisor of a home: lock, record, version, what it takes over
replans    when a running stack is planned anew; `replanning` does it, as a process that `errand` runs
planfile   plan.json: who may write it, and which plan has been tried in vain
ward       the GPUs, watched and judged
routerlife the router, started, adopted and started again
"""
