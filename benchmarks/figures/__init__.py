"""What the samples of a run say, defined in one place. Pure, but for telemetry, which asks the endpoint and NVML.

errors (kinds of failure), promise (what was promised), window (warm-up cut by rule), interval (bootstrap),
summary (all figures of a run, with their formulas), dollars (what it cost), telemetry (KV, waiting, power over time).
"""
