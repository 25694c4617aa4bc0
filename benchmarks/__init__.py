"""Measures the stack from outside, and replays its decisions offline. Not part of the installed package."""
