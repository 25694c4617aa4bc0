"""A part of the traffic tries another model: beside the one that answers (shadow), or instead of it (split).

share (who belongs to N % of them), split and shadow (which requests, and what becomes of them): pure. copies carries
shadows out, at most so many at once (slots). arms makes a table out of the rows of the ledger.
"""
