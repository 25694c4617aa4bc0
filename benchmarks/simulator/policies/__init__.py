"""Where each request goes, by rules to compare: `--policy NAME[=SETTINGS]`.

plain        all here, or all in the cloud
counted      count: in flight on the least busy engine; slots: each engine its own number of them
thresholds   the queue and the KV use that engines report, as fresh as they are read
predicted    TTFT and TPOT predicted from the router's own ledger, decided at arrival
held         late binding: requests wait in the router until they fit, for so long at most
sluice       the router's own decisions, imported
named        which policy a word of the command line means, and the settings that `--best` tries
A new rule is a module with a class of world.Policy, and a line in `named`.
"""
