"""`benchmarks whatif`: an owner's own requests on more engines, or under another promise.

Whose requests: ledger (rows, and blocks of them) or traced. stack says to which model a row belongs, place which engines
the plan has, wish what the command line asked for. hours chooses the windows of a long record that stand for all of it.
A pool is one model's engines with its requests (pools makes them from the ledger); learned says how fast they are
where no named engine is like them. A case changes a pool, reckoned simulates it, answer holds all cases beside each
other; sentence, table and picture show it.
"""
