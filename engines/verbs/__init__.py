"""The verbs of `spillway`, a module each with its `run`; `engines.cli` lists them and imports the one that is called.

up, down, status, logs, plan, download, lock, runtime_install, runtime_list
router, ask_router (cost, preset, route), whatif, arms, benchmark (demo, bench): they become another of our programs
options    options that several verbs have
said       what they print, and how an error of ours ends one
become     turning into another program
"""
