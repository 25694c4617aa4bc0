"""Owns the GPUs: knows processes and memory, never sees a request.

From files to a plan      tables -> config, lock (relock writes it), gpu, host -> plan, all put together by stack
Engine environments       runtime (which and where), pip (how they are made)
One engine                vllm (flags, environment, log lines), vllm_http (the only HTTP), vllm_metrics, lifecycle, engine
Processes                 keeper (beside each child), childlog, process (start, stop, records), orphans (leave nothing)
The one writer            supervisor, which says what it knows through feed as snapshot, the contract with the router
The command line          cli, up, home (what lies under SPILLWAY_HOME), door (the router from outside), progress, table, logs

A plan is made before anything starts and travels to the supervisor as `plan.json`; the supervisor reads no other file.
To add a flag: a key in `config`, a fact in `plan`, a line in `vllm.command`. To add a cause of death: a row in `vllm.CAUSES`.
"""
