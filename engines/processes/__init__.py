"""Processes that end whole, whoever dies first.

keeper     the small process beside each child, with its log (`childlog`)
process    start, adopt, stop and wait for a keeper and its child
record     what a keeper writes down of itself and its child
orphans    which processes descend from which, and what they leave behind
"""
