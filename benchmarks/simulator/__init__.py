"""Engines, clouds and arrivals in reckoned time, with the router's own decisions: `python -m benchmarks simulate`.

One engine: engine (strides of steps in time) over batch (its scheduler, counted in steps), which seats each sequence
(with request) in the blocks of KV by prefix; steps says how long a step takes. calibration reads that from measured
tables, named has it for engines that ship, validation holds them against real runs.
"""
