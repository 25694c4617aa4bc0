"""Whether a request is served here, waits, or goes to the cloud: by what it costs there and what it takes here. Pure.

lengths    how long answers are here, learned: levels (classes of a request), answers (of one class, by rungs),
           borrowing (from the class before); what it says is a sample
speeds     what a step of an engine takes, learned from streams
budget     how much a cloud dollar counts now, so that the money lasts
parity     whether a twin can stand in for this request
"""
