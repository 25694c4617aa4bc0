"""Sends a workload to an endpoint and measures each request. The one place of the harness that opens connections.

sample (what one request met), pacing (open or closed loop), drive (the run), request (Arrival to bytes),
connection (one keep-alive connection), events (server-sent events, read as cheaply as can be), lag (was the generator
late), probe (what serves there).
"""
