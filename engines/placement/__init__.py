"""Which engine runs where, with which bounds. Pure and deterministic.

want         one wanted model: locked facts, the promise, and what the user fixed
room         how much of each GPU can be given away, and to whom the rest belongs
bounds       flags that follow from memory: sequences, batched tokens, queue limits
shapes       the shapes that an engine may have on GPUs of one kind, with what each takes
spots        where an engine could run: groups of GPUs, each with the shapes that fit there
seats        engines on GPUs while they are being seated, and what a seating costs
search       branch and bound through the seatings
exchange     better seats for the KV caches, where there are too many seatings to look at all
seated       the best seating, put together from several searches; the engines of the plan before stay
fill         what is left over of every GPU, given to the KV caches of the engines on it
place        all of it: wants on GPUs as engines with their flags, and those that have no place
needs        what an engine without a place needs, against what is there
case         a want without a place, and the proof that a change would help it
four_bit     what a 4-bit checkpoint of a model would be
remedies     the changes that would make a want fit, least invasive first
steady       what runs goes on as it is while the rest has room beside it
cpu          the same without a GPU: cores instead of cards
partners     which models would have to take turns so that all have a place
turns        models that need not be kept, one after the other on the same memory
"""
