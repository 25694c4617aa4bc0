"""Engines, clouds and arrivals in reckoned time, with the router's own decisions: `python -m benchmarks simulate`."""
