"""Processes that end whole, whoever dies first.

keeper        the small process beside each child, with its log (`childlog`); `child` is how it starts it
succession    whom a keeper serves, and the next supervisor when one dies unasked
registration  the files by which others know a keeper; `record` reads them
process       start, adopt, stop and wait for a keeper and its child
cgroup        a control group for each child where we may make one; whom the kernel killed for lack of memory
orphans       which processes descend from which, and what they leave behind
remains       what is left of a keeper that was killed, ended by its record
"""
