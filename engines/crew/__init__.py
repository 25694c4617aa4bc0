"""All engines of one supervisor: who runs, comes and leaves, under which name.

crew       the engines of a plan, and what a new plan changes about them
place      who bears a name, and who is to take it over
member     one of them with its task; a fault in one is no other's
rota       turns among those that cannot all be awake at once
proven     whether a replacement has shown that it serves
maker      how an engine is made, with the doors that it needs
"""
