"""Sends a workload to an endpoint and measures each request. The one place of the harness that opens connections.

sample (what one request met), pacing (open or closed loop, values), loops (their machines, by feed, on the clock of
`benchmarks.pace`), drive (the run), progress (its counts, live), endpoint and request (Arrival to bytes), pool (all
connections), connection (one of them), exchange (one request under way), events and chunk (server-sent events, read as
cheaply as can be), outcome (an exchange as a sample), lag (was the generator late), probe (what serves there), truth
(proves the figures against latencies that are known).
"""
