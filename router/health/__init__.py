"""Is a target well? Pure: verdict (what the rest of the router hears), opening (how long a breaker passes a target over
and how it comes back), breaker (what failures and answers do to it), ejection (who is much slower than its like, and
never all engines at once), retries (what second tries may cost and the pause before one), triggers (what each cause of
a failure means and who is tried next), schema (does an answer have the form that was asked for).
"""
