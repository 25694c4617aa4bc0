"""Measures the stack from outside; `python -m benchmarks` lists the verbs. Imports no engine and no impure router part.

The harness, from what is asked to what is read: workload (arrivals), drive (sends them: samples), figures (samples to
a summary, telemetry, dollars), report (documents, tables, pages, comparison), search (the highest load). A verb has a
scene, measures loads (measure, with a screen) and ends with output. Verbs: load, sweep, tune, bench, replay, hybrid
and outage (cases), compare, report; proof holds the harness against other tools. faults (night): a whole stack of its
own that is broken in every way that a GPU server knows.

Stand-ins for what cannot be had or made to fail: cloud (with cloud_reply, price) and engine (with engine_loop, batch,
prefix_cache, exposition); both misbehave on purpose (switch) and share wire (the OpenAI form) and loopback; process
starts one (or a router) and says where it listens.
The demo: demo (demo_stack, demo_view, pressure, verdict) drives crowd through stream. latency: what the router adds.
affinity (talks): what a strategy does to the engines' prefix caches. tokens and lengths: how far the router's estimates
of prompts and answers are off. rivals: LiteLLM's proxy, a count in flight and Spillway share out one vLLM in turns.
Wire speed: relay (block, scenario, relay_table) and soak (soak_phases, leaver, memory_watch, soak_report, memory_curve)
drive pump (job, client, completeness, tally) against a router (contender) in front of stub (stub_engine,
stub_connection, stub_answer, numbered, tamper, pace) and look at the process table (machine); abort. cost (decisions,
placing): what the pure parts take. choices holds the contestants of the hot path.
simulate: nothing runs and time is reckoned (simulator); what a promise costs under the router's rules and others'.
spill: the same for the router's rule alone, over many traces and loads.
whatif (whatifs): an owner's own requests there, with more engines or under another promise.
To add a verb: a module with add_arguments and main, and a line in `__main__`.
"""
