"""What the samples of a run say, defined in one place. Pure, but for page, places and telemetry, which ask.

errors (kinds of failure), promise (what was promised), window (warm-up cut by rule), interval (bootstrap),
distribution (values as a Figure), summary (all figures of a run, with their formulas), dollars (what it cost),
crosscheck (the engine's counters against the answers).
Over time: telemetry (once a second) asks places (where engine and router are) by page (one GET) and the driver;
pages (what they say), growth (of counters), energy (of GPUs) and queue (waits by histogram) make figures of it.
"""
