"""Looks for the highest load that keeps a promise, and compares the settings of an engine by it.

saturation decides which load is next (from look, one load tried, by belief, where the knee may lie); course conducts,
meter measures at a real endpoint and ends what is hopeless, shown says it, options are those of the verbs.
Settings of an engine: settings (what can be tried), stack_text (stack files with a few keys changed), trial (a stack of
its own for each), comparison (which is better).
"""
