"""What a person or a CI job gets to see of a run.

document (the JSON, schema versioned), rows (one line per request beside it), table (terminal), pictures (PNG),
page (one self-contained HTML file), compare (two documents, with a verdict), imported (results of other tools).
"""
