"""Is a target well? Pure: breaker (open, half open, closed, and the gradual return), ejection (who is worse than its
like, and never all of them), retries (the budget of second tries and the pause before one).
"""
