"""Engines, clouds and arrivals in reckoned time, with the router's own decisions: `python -m benchmarks simulate`.

One engine: engine (strides of steps in time) over batch (its scheduler, counted in steps), which seats each sequence
(with request) in the KV of blocks by prefix; steps says how long a step takes.
"""
