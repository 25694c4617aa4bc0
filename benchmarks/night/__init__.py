"""The proof that a stack keeps itself alive: `python -m benchmarks faults`.

Pure: scenery (what stack a fault needs), case (what a fault is), signs (what a Snapshot shows), visit (what came of a
request), evidence, course (what the supervisor said over time), judgement, table, suite (all faults, in which order).
Doors: stage (a stack of its own; dressed is its fake vLLM, conduct what that does, clock its shifted clock, stranger
who takes ports), kinship (processes and what they leave), visitors (requests), witness (the supervisor's feed).
Faults: deaths, starts, cards, calm. Glue: night (what a fault finds), trial (one fault from calm to calm), verb.
"""
