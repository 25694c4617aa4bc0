"""Whether a request is served here, waits, or goes to the cloud: by what it costs there and what it takes here. Pure.

sluice     who is served here, who waits, who goes: for each want, by its worth. It asks the pool (the engines of one
           model: who has room, and when room will come), foresight (when a first token may be expected), shedding (who
           leaves the line because somebody would be late), the tariff (what it costs to spill, or to be late: twin,
           misses that the promise still allows, demand of late and how a request ranks in it), knows who waits aside,
           and counts outcomes
lengths    how long answers are here, learned: levels (classes of a request), answers (of one class, by rungs),
           borrowing (from the class before); what it says is a sample
load       what one engine has: its prompts that are not read yet, its sequences that decode (by a clock of steps made;
           reserves: gained on the promise), others (other processes' requests, and strangers; sharing of prefixes), a
           stay for each request, a slow start; how it stands at one moment is a standing
speeds     what a step of an engine takes, learned (by fit) from streams; accuracy: predicted against actual
guard      who of those that decode is lost if one more prompt is let in
budget     who may spend how much of the cloud's money now, and how much a dollar counts, so that it lasts: over periods
           (hour, day and month, UTC) by a season (the learned shape of a week)
parity     whether a twin, or anybody else, can stand in for this request
"""
