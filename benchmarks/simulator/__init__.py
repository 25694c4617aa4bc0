"""Engines, clouds and arrivals in reckoned time, with the router's own decisions: `python -m benchmarks simulate`.

One engine: engine (strides of steps in time) over batch (its scheduler, counted in steps), which seats each sequence
(with request) in the blocks of KV by prefix; steps says how long a step takes. calibration reads that from measured
tables, named has it for engines that ship, validation holds them against real runs.

A setting is arrivals (from traces; scaling gives them another rate), engines of a kind, cloud_times and a promise (from
options). A world runs it in time under one of policies; trial does so and says the outcome, table shows several.
capacity finds the load that local alone keeps, tuning the best settings of a policy. survey holds the router's rule
against many traces and loads, survey_table shows it; reach says who could be served in time at all. episode watches a
stretch of a run, episode_plot draws it.
hindsight (over plan, foresight, moment, window) searches the best plan of who knows the whole trace; bound proves
what none can be below.
"""
