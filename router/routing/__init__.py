"""Where one request goes: pure functions of an Ask, a Fleet and the Rules.

fleet (all targets at one moment), off (why an engine takes nothing), filters (who may and can), policy (order, chain,
spill or wait), spill (would it break the promise), pace (what is learned of a target), scorers (how much worse one
target is than another, a function for each strategy), affinity (who has read which prompt).
"""
