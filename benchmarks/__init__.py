"""Measures the stack from outside; `python -m benchmarks` lists the verbs. Imports no engine and no impure router part.

Stand-ins for what cannot be had or made to fail: cloud (with cloud_reply, price) and engine (with engine_loop, batch,
exposition); both misbehave on purpose (switch) and share wire (the OpenAI form) and loopback.
Clients: stream (one request, timed), crowd (users in a closed loop).
Verbs: demo (demo_stack, demo_view, pressure, verdict), latency, bench. Statistics: quantiles.
To add a verb: a module with HELP, add_arguments and main, and a line in `__main__`.
"""
