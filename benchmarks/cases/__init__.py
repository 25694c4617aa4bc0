"""Cases: the same load under different conditions, and side by side what came of it.

Pure: fault (what breaks when), phase (the time between faults), passes (local only, all cloud, hybrid), promises (by
tier), outcome (the figures of a pass or phase), judgement (in sentences), table (how they look).
Doors: stack (one of our own), engine (what can be killed), strike (faults carried out), states (what becomes of the
targets), ledger (dollars), start (when the load began).
Glue: options, session (stack, scene and promises of one verb), taking (one load in company), papers (the report).
"""
