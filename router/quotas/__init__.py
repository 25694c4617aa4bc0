"""What providers allow: windows of a minute and a day, how many at once, for each key of a pool.

Pure: bucket (fills up evenly) and day (begins anew at midnight), meter (all windows of one key), pool (the keys of a
provider), learned (what providers tell of their limits), line (who waits, in order), permit, room (what is left, as the
Fleet shows it). shared is the door to the file that all workers have of a pool; counter keeps one provider's windows
and the line before them; quotas is a star around the counters, and what the rest of the router calls.

To add a form of header: a family or a word in `learned`. To add a kind of window: a file like bucket and day, and its
place in `meter`.
"""
