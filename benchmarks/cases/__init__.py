"""Cases: the same load under different conditions, and side by side what came of it.

Pure: fault (what breaks when), phase (the time between faults), passes (local only, all cloud, hybrid), promises (by
tier), outcome (the figures of a pass or phase), table (how they look).
Doors: stack (one of our own, or one that runs), engine (what can be killed), strike (faults carried out), states (what
became of the targets), ledger (dollars). Glue: options, taking (one load measured), papers (the document).
"""
