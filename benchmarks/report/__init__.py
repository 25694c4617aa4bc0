"""What a person or a CI job gets to see of a run.

document (the JSON, schema versioned), rows (one line per request beside it), origin (machine, versions, command),
files (writes and reads all of it), subject (what a document is about), quantity (figures as people read them).
Shown: verdict (ten sentences), table (terminal), pictures (of curve, cdf, timeline, drawn by plotting, the one door to
matplotlib), page (one self-contained HTML file).
Compared: questions (what can be asked of two documents), resample (how sure a statistic is), compare (what is worse),
compare_table. Of other tools: imported (whose file is it), imported_vllm, imported_guidellm, foreign.
verb is `report`; `compare` is a module beside this package.
"""
