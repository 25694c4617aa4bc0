"""One engine from its plan to its end.

lifecycle  the states and the steps between them, as a table; back-off
engine     carries it out, as others wish (`wishes`), from step to step (`course`), by what was tried before (`trials`)
run        one process of it: `launching` before, `arrival` until it serves, `departure` until it is gone (`draining`
           decides when); `note` is what its record tells the next supervisor
guard      watches one that serves, by what `heartbeat` says of a hang, and its `parts`; `holding` reads its memory
site       what the engines of a supervisor share
portrait   what is shown of one; `last_words` what it said; `lesson` what its start taught
residency  who rests and who wakes, where more models are wanted than fit
"""
