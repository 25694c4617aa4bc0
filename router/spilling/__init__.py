"""Whether a request is served here, waits, or goes to the cloud: by what it costs there and what it takes here. Pure.

sluice     who is served here, who waits, who goes: for each want, by its worth, the room that will be, the misses that
           the promise still allows, the demand of late (and how a request ranks in it) and how late its twin may be
lengths    how long answers are here, learned: levels (classes of a request), answers (of one class, by rungs),
           borrowing (from the class before); what it says is a sample
load       what one engine has of ours: its prompts that are not read yet, its clock (steps made), reserves (gained on
           the promise), strangers (not ours), a stay for each request; how it stands at one moment is a standing
speeds     what a step of an engine takes, learned (by fit) from streams; accuracy: predicted against actual
guard      who of those that decode is lost if one more prompt is let in
budget     who may spend how much of the cloud's money now, and how much a dollar counts, so that it lasts: over periods
           (hour, day and month, UTC) by a season (the learned shape of a week)
parity     whether a twin, or anybody else, can stand in for this request
"""
