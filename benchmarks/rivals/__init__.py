"""One real engine and a cloud with a price, shared out by several routers in turn under the same arrivals.

setting (what is asked for), window (a stretch of a trace at a rate), model (a random one that is too much for a core),
engine (vLLM with it, or a fake one), serving (a foreign process until it is ready), threshold (a count in flight, as a
process), contender (each router as a process at an address), trial (arrivals at a door), outcome (its figures),
capacity (load 1.0), course (all of it), table and verb. It must not know how any of the routers decides.
"""
