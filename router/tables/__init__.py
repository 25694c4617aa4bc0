"""The router's tables of stack.toml as frozen values. Validation happens here and in `router.gaps`, nowhere else.

One file a table: endpoint, tier, task, preset, provider (quota), cloud, chain, route, comparison (shadows and splits),
job, limits, and of the engines' tables what the router may know (model). Words they share: table, strategy.
rules holds them all; checks says what one says wrongly of another; read makes them from a file, kept shares them
between processes, keys finds keys in the environment.
"""
