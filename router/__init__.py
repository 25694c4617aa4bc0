"""Answers OpenAI requests: knows targets, never sees a GPU or a process.

One request (a star around `app.answer`)
    ask        bytes and headers -> Ask                    pure
    watch      newest snapshot, in-flight, pace -> Fleet   the one writer of all of that
    policy     Ask, Fleet, rules -> Decision               pure; filters, order, then spill says whether to leave
    attempts   the first target that yields a token        upstream (engines) or cloud (litellm), both give a Reply
    relay      events to the client as they come           reply holds the gate before the first token
    served     counts, ledger, metrics, once               money was set aside before the call

Around it: config (the router's tables), feed (Snapshots in), fleet (merge), pace (what is learned), sse, status, serve.
To add a rule: a function and an entry in `policy.FILTERS`. To add a wait: a function and an entry in `spill.TERMS`.
"""
