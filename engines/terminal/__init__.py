"""What the command line shows and waits for.

status     what is known now -> screen, table, ages
awaiting   until a plan serves, or why it does not
progress   one line for a long verb
locking    `spillway lock` at work
logs       `spillway logs`
"""
