"""The owned GPUs, seen or declared.

gpu       what is known of one GPU, of a link between two, of all of them; frozen values
nvml      the door to the driver: everything NVML tells, now; and the meter of power and energy
listener  the door to the driver's events; events waits for them on a thread of its own
binding   calls into the binding, and which of its errors mean what
reader    reads all GPUs again and again through that door; which card is at fault
watch     reading without waiting for a wedged driver: once, or the last of many
health    what the driver's codes mean, in words
faults    sentences for GPUs and drivers in trouble: what is wrong, and what mends it
cards     GPUs that are not here: `8xH100-80GB` as the same values, from a table of cards
xids      what the driver's critical errors mean, and which of them close a GPU
trouble   pure: which GPUs are in trouble, since when and why, and what mends it
views     pure: what a Snapshot says of them, with what strangers hold
islands   pure: which GPUs may share a model, by how fast they reach each other

Unknown is None, never zero. A GPU that does not answer is named in `Gpus.faults`, and the others go on.
"""
