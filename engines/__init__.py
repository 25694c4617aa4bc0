"""Owns the GPUs: launches engines, keeps them alive, and publishes Snapshots. Never sees a request."""
