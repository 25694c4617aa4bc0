"""What providers allow: windows of a minute and a day, how many at once, for each key of a pool.

room (what is left, as the Fleet shows it). Pure: window, bucket, pool, learned, queue; one writer: `quotas`.
"""
