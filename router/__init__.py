"""Answers OpenAI requests: knows targets, never sees a GPU or a process.

One request (a star around `answer.answer`)
    front      the client's connection: hot URLs become an Exchange, the others go to `app`     uvicorn's protocol
    ask        bytes and headers -> Ask (body decodes, prefixes digest, forward writes it)      pure
    measuring  how long its prompt is, where that decides anything (contexts, length, counter)  counting: a process
    routing    what routes make of it, and where it goes: Ask, Fleet, rules -> Decision         pure
    watch      newest snapshot, flights, what is learned -> Fleet (roster, accounts, deployed)  the one writer of that
    rounds     until somebody serves it: attempts, else a wait for an engine or for a limit     bounded by max_wait_s
    basin      before engines: waits until its sluice lets it in, or sends it elsewhere         wants: pure; pools (a
               sluice for each model) and samples (streams that are counted) are the watch's; ticket: what came of it
    attempts   the first target that yields a token, within its patience; abroad: money, limits upstream or clouds;
               failure: what a failed try was; course: how far a request has come
    reply      what was read of an answer: the gate before the first token, the tally after it  pure
    delivery   hands it over to its end
    served     counts, ledger, metrics, once; money was set aside before the call

One token (no step of `answer`)
    connection, an engine's -> chunks says that it is plain -> exchange.wire, the client's      else reply reads it

Packages: tables (stack.toml), routing, spilling (sluices: who is served here, who waits, who goes), health (breakers,
second tries), quotas (limits of providers), clouds (the way to them), comparing (shadows and splits), verbs (`spillway
cost`, `preset`, `route`, `arms`).
What runs where: registry (clouds, resolved), spots, gaps and overflow (holes in that, named), edits (of stack.toml).
The client's side: front (head, offer, linger), exchange (errand runs `answer` without a task, outbox sends in batches).
The targets' side: upstream (connection, engine_reply, whole, patience), clouds; sse cuts events.
Asked without being sent: question (nobody sends it), rehearsal (POST /spillway/route), explain and because (why each
target stands where it stands), costs (dollars of a job), imagined (the Fleet as if all of stack.toml ran).
Around it: feed (Snapshots in, Reports out), lobby (who waits for an engine to come), ledger, books, moves and outcome
(rows and money), pacing (what each tier may spend of it at this moment), metrics, gauges, foresight (lines, and
predictions against what came) and tally, decided and status, ids, errors, serve.
Several processes: seat, port, workers (the parent), siblings and rows (counts in shared memory), report and shown.

To add a filter: a Lack in `spilling.parity` and an entry in `filters.FILTERS`. To add a strategy: its name in
`tables.strategy`, a function and an entry in `scorers.SCORERS`, a table of cases in its test.
"""
