"""What is asked, and when. Pure but for reading files and asking a tokenizer.

arrival (the value all of it is about), workload (the front: spec, options, arrivals_of), process (when requests come),
lengths (how long they are), mix (who sends them), shape (a request before it has a prompt), trace (azure, mooncake,
servegen, agentic by sessions, tables of rates, one's own) and prompts (from files) by records, synthetic (of an exact
length, by words that tokenizer, template and served have counted).
"""
