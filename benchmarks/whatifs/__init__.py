"""`benchmarks whatif`: an owner's own requests on more engines, or under another promise.

Whose requests: ledger (rows, or blocks of them) or traced. hours chooses the windows of a long record that stand for
all of it, looked are the rows in them. stack says to which model a row belongs, place which engines the plan has, wish
what the command line asked for.
A pool is one model's engines with its requests; pools makes them from the ledger, each with a speed (learned where no
named engine is like it), a twin and a promise.
A case changes a pool, reckoned simulates it, an answer holds all cases beside each other; page (sentence,
table) and picture show it.
"""
