"""One engine from its plan to its end.

lifecycle  the states and the steps between them, as a table; back-off
engine     carries it out
residency  who rests and who wakes, where more models are wanted than fit
"""
