"""What is asked, and when. Pure but for reading files and asking a tokenizer.

arrival (the value all of it is about), process (when requests come), lengths (how long they are), mix (who sends them),
prompts (from files), synthetic (tokenizer-exact, by tokenizer), trace (azure, mooncake, servegen, one's own).
"""
