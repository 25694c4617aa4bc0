"""Owns the GPUs: knows processes and memory, never sees a request.

What there is          gpus (seen or declared), foreign (what others hold of them), host
What is wanted         tables (TOML), checks -> config; stack puts it together with the lock, hardware and runtime
What the models are    models (facts, files, downloads); locking and fetching show it at work
Bytes                  memory (what an engine takes), placement (which engine runs where)
The plan               before (what ran) -> planning -> plan (values that travel); page (what of it is shown)
Engine environments    runtime (which and where), pip (how they are made)
One engine             life (from its plan to its end), kinds (vLLM, Ollama: what differs), starting (until it serves,
                       and what its end tells), pause
Processes              processes (keepers, records, orphans), running (which engines run, by their records)
Elsewhere              elsewhere (servers that others run)
The one writer         supervisor: crew (all engines), reign (that it is the only one, plans anew, GPUs, the router);
                       feed publishes what it knows as a snapshot, the contract with the router, and hears its reports
The command line       cli (the list), verbs, up, terminal (what they show), home (what lies under SPILLWAY_HOME),
                       checkout (what lies here), door (the router, seen from outside), following (the feed, read),
                       logtail, errors (what ends a verb)

A plan is made by a process of its own and travels to the supervisor as `plan.json`.
To add a verb: see `cli`.
To add a flag: a key in `config`, a field of `placement.want.Want` and `memory.shape.Shape`, a line in `vllm.command`.
To add a cause of death: a row in `starting.symptoms`. To add a card: a row in `gpus.cards`.
"""
