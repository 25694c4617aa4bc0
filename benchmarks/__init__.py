"""Measures the stack from outside; `python -m benchmarks` lists the verbs. Imports no engine and no impure router part.

Stand-ins for what cannot be had or made to fail: cloud (with cloud_reply, price) and engine (with engine_loop, batch,
exposition); both misbehave on purpose (switch) and share wire (the OpenAI form) and loopback.
Clients: stream (one request, timed), crowd (users in a closed loop).
Verbs: demo (demo_stack, demo_view, pressure, verdict), latency, bench. Statistics: quantiles.
Wire speed: relay (block, scenario, relay_table) and soak (soak_phases, leaver, memory_watch, soak_report, memory_curve)
drive pump (job, client, completeness, tally) against a router (contender) in front of stub (stub_engine,
stub_connection, stub_answer, numbered, tamper, pace) and look at the process table (machine).
To add a verb: a module with HELP, add_arguments and main, and a line in `__main__`.
"""
