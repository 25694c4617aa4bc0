"""Verbs of `spillway` that ask the router's own code: `python -m router.verbs VERB`, one file a verb.

cost (dollars of a job under each preset), preset (lists them; changes the one line), route (where would this go, and
who is next on a failure?), arms (the two arms of a split or shadow).
Around them: given (what every verb is told: stack.toml, the lock's models), running (the router that runs, over HTTP),
line (the edit of stack.toml), explained and shown (what a terminal gets).
"""
