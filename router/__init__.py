"""Answers OpenAI requests: knows targets, never sees a GPU or a process.

One request (a star around `answer.answer`)
    front      the client's connection: hot URLs become an Exchange, the others go to `app`     uvicorn's protocol
    ask        bytes and headers -> Ask (body decodes, forward writes it for engines)           pure
    watch      newest snapshot, flights (account), pace -> Fleet; reports to the supervisor     the one writer of that
    policy     Ask, Fleet, rules -> Decision; filters, order, then spill says whether to leave  pure
    rounds     until somebody serves it: attempts, else a wait for an engine in the lobby       bounded by max_wait_s
    attempts   the first target that yields a token, within its patience                        upstream or cloud
    reply      what was read of an answer: the gate before the first token, the tally after it  pure
    served     counts, ledger, metrics, once; money was set aside before the call

One token (no step of `answer`)
    connection, an engine's -> chunks says that it is plain -> exchange.wire, the client's      else reply reads it

The client's side: front (head, offer, linger), exchange (errand runs `answer` without a task, outbox sends in batches).
The targets' side: upstream (connection, engine_reply, whole, patience) and cloud (cloud_reply); sse cuts events.
Around it: config (the router's tables), edits (of them), feed (Snapshots in, Reports out), fleet (merge), pace (what is
learned), ledger, books and outcome (rows and money), metrics, gauges and tally, decided and status, ids, errors, serve.
Several processes: seat, port, workers (the parent), siblings and rows (counts in shared memory), report and shown.

To add a rule: an entry in `filters.FILTERS` and its condition in `dropped_by`. To add a wait: see `spill.forecast`.
"""
