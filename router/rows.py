"""The Rows that workers show each other, in shared memory: `Siblings` without a server and without a lock.

Memory: one region per worker, written by that worker alone (and cleared by the parent when the worker is dead). A
region has a head, and SLOTS slots; a slot belongs to one target at a time and has a key (a digest of the target's
name), two copies of the Row, and a word that says which copy counts, how long it is, and what its CRC-32 must be:

    head     u64             pid << 32 | crc32 of all keys; another one with every process and new target; 0: nobody
    words    u64 x SLOTS     crc32 << 32 | length << 16 | turn; the last bit of the turn picks the copy; 0: nothing
    keys     16 B x SLOTS
    copies   512 B x 2 x SLOTS

Why no reader sees a torn Row. The writer fills the copy that does not count and then stores the word, so a Row is
published by one store, and a writer that is killed or put to sleep half way has published nothing yet. CPython
stores an item of a memoryview of format Q by a copy of 8 aligned bytes, which compilers make one instruction, and
aligned stores of 8 bytes are whole on x86-64 and on ARMv8. On x86-64 stores become visible in their order, so who
reads the word finds its copy complete. ARM promises no such order, and CPython has no fence to ask for it; and
anywhere a reader can sleep while the writer comes round to the same copy again. Both show as a CRC that does not
match, and the reader looks again. The CRC starts from that of the key, so a Row of a slot's last owner is not taken
for one of its new owner. What is left is a CRC that matches by chance: 2**-32 in a race which is rare itself.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from zlib import crc32

import msgspec
from msgspec.structs import replace

from router.siblings import Row

SLOTS = 256
WORD_BYTES = 8
KEY_BYTES = 16
COPY_BYTES = 512
# In words of eight bytes from the region's begin, then in bytes.
FIRST_WORD = 8
KEYS_AT = (FIRST_WORD + SLOTS) * WORD_BYTES
COPIES_AT = KEYS_AT + SLOTS * KEY_BYTES
REGION_BYTES = -(-(COPIES_AT + SLOTS * 2 * COPY_BYTES) // mmap.PAGESIZE) * mmap.PAGESIZE
# What a cause may have at most, so that a Row fits into a copy whatever its numbers are.
CAUSE_CHARACTERS = 50
# A mismatch needs a writer that publishes twice within one look; more than a few in a row do not happen by timing.
LOOKS = 8

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Row).decode


def open_rows(workers: int) -> int:
    """Empty rows for so many workers: a file descriptor in memory, to be handed to each of them."""
    fd = os.memfd_create("spillway-rows")
    os.truncate(fd, workers * REGION_BYTES)
    return fd


def clear_rows(fd: int, number: int) -> None:
    """Take back all that a worker published. Only for a worker that is dead: a living one is the only writer."""
    os.pwrite(fd, bytes(COPIES_AT), number * REGION_BYTES)


def _shortened(row: Row) -> Row:
    """With a cause that fits: all else has a bound."""
    trouble = row.trouble
    if trouble is None or trouble.opening is None:
        return row
    opening = replace(trouble.opening, cause=trouble.opening.cause[:CAUSE_CHARACTERS])
    return replace(row, trouble=replace(trouble, opening=opening))


class Rows:
    """The rows of all workers, as seen by worker `number`, whose own region starts empty."""

    def __init__(self, fd: int, number: int, workers: int) -> None:
        clear_rows(fd, number)
        self._memory = mmap.mmap(fd, workers * REGION_BYTES)
        self._words = memoryview(self._memory).cast("Q")
        self._own = _Own(self._memory, self._words, number)
        self._siblings = tuple(_Sibling(self._memory, self._words, each) for each in range(workers) if each != number)

    def __repr__(self) -> str:
        return f"<Rows own={len(self._own.slots)} siblings={[len(each.seen) for each in self._siblings]}>"

    def publish(self, target: str, row: Row) -> None:
        """Show the siblings this worker's numbers of a target. Beyond SLOTS busy targets they stay unseen, with a
        warning in the log."""
        slot = self._own.slots.get(target) or self._own.claim(target)
        if slot is None:
            return
        body = _encode(row)
        if len(body) > COPY_BYTES:
            body = _encode(_shortened(row))
        slot.turn = turn = (slot.turn + 1) & 0xFFFF
        slot.busy = row.requests > 0
        at = slot.copies_at + (turn & 1) * COPY_BYTES
        self._memory[at : at + len(body)] = body
        self._words[slot.word_at] = crc32(body, slot.salt) << 32 | len(body) << 16 | turn

    def others(self, target: str) -> Sequence[Row]:
        """What each living sibling last published of a target."""
        rows = []
        words = self._words
        for sibling in self._siblings:
            slot = sibling.seen.get(target) or sibling.find(target)
            if slot is None:
                continue
            if words[slot.word_at] != slot.word:
                slot = sibling.look(target, slot)
            if slot is not None and slot.row is not None:
                rows.append(slot.row)
        return rows

    def news(self) -> Collection[str] | None:
        """Targets of which something was published since this was called last; None: any may be, so ask of all."""
        found: set[str] = set()
        for sibling in self._siblings:
            names = sibling.news()
            if names is None:
                return None
            found.update(names)
        return found

    def close(self) -> None:
        """Let go of the memory. The descriptor stays open: it is the caller's."""
        self._words.release()
        self._memory.close()


class _Slot:
    """Where a target's Row is, and what this process last wrote there or last saw there."""

    __slots__ = ("busy", "copies_at", "row", "salt", "turn", "word", "word_at")

    def __init__(self, region: int, index: int, key: bytes) -> None:
        self.word_at = region * REGION_BYTES // WORD_BYTES + FIRST_WORD + index
        self.copies_at = region * REGION_BYTES + COPIES_AT + index * 2 * COPY_BYTES
        self.salt = crc32(key)
        self.turn = 0
        self.busy = False
        self.word = 0
        self.row: Row | None = None


class _Own:
    """The slots of this worker: which target has which."""

    def __init__(self, memory: mmap.mmap, words: memoryview[int], number: int) -> None:
        self.slots: dict[str, _Slot] = {}
        self._memory = memory
        self._words = words
        self._number = number
        self._head_at = number * REGION_BYTES // WORD_BYTES
        self._told = False
        self._sign()

    def claim(self, target: str) -> _Slot | None:
        """A slot for a new target: a free one, else that of a target with nothing in flight. None: all are busy."""
        index = len(self.slots)
        if index == SLOTS:
            idle = next((name for name, slot in self.slots.items() if not slot.busy), None)
            if idle is None:
                self._tell(target)
                return None
            old = self.slots.pop(idle)
            self._words[old.word_at] = 0
            index = old.word_at - self._head_at - FIRST_WORD
        key = _key(target)
        at = self._number * REGION_BYTES + KEYS_AT + index * KEY_BYTES
        self._memory[at : at + KEY_BYTES] = key
        self._sign()
        slot = self.slots[target] = _Slot(self._number, index, key)
        return slot

    def _sign(self) -> None:
        self._words[self._head_at] = os.getpid() << 32 | crc32(_keys(self._memory, self._number))

    def _tell(self, target: str) -> None:
        if not self._told:
            print(f"{SLOTS} targets are busy at once: workers do not see each other's {target}", file=sys.stderr)
        self._told = True


class _Sibling:
    """What this worker knows of one sibling's region. Read only."""

    def __init__(self, memory: mmap.mmap, words: memoryview[int], number: int) -> None:
        self.seen: dict[str, _Slot] = {}
        self._memory = memory
        self._words = words
        self._number = number
        self._head_at = number * REGION_BYTES // WORD_BYTES
        self._head = 0
        self._indices: dict[bytes, int] = {}
        self._names: dict[int, str] = {}
        # What the words and the head were when they were compared last.
        self._told = b""
        self._told_head = -1

    def find(self, target: str) -> _Slot | None:
        """Where the sibling keeps a target; None if it has never published it."""
        if self._words[self._head_at] != self._head:
            self._learn()
        index = self._indices.get(_key(target)) if self._indices else None
        if index is None:
            return None
        slot = self.seen[target] = _Slot(self._number, index, _key(target))
        self._names[index] = target
        return slot

    def news(self) -> list[str] | None:
        """Only the words are compared, two kilobytes: most of the time there is nothing new in most of them."""
        head, first = self._words[self._head_at], self._head_at + FIRST_WORD
        told = self._words[first : first + SLOTS].tobytes()
        if head != self._head:
            self._learn()
        if head != self._told_head or head != self._head:
            # Another process or another target. While a key is being written nobody knows, and asks again.
            self._told_head, self._told = self._head, told
            return None
        if told == self._told:
            return []
        # The first byte is the lowest, so the first word is, whatever the order of bytes in a word.
        differs = int.from_bytes(told, "little") ^ int.from_bytes(self._told, "little")
        self._told = told
        return [name for index in _words_in(differs) if (name := self._names.get(index)) is not None]

    def look(self, target: str, slot: _Slot) -> _Slot | None:
        """The slot with what stands in it now."""
        for _ in range(LOOKS):
            word = self._words[slot.word_at]
            at = slot.copies_at + (word & 1) * COPY_BYTES
            body = self._memory[at : at + (word >> 16 & 0xFFFF)]
            if word and crc32(body, slot.salt) == word >> 32:
                slot.word, slot.row = word, _decode(body)
                return slot
            if not word:
                # The sibling has ended or given the slot away; where the target is now is asked next time.
                self.seen.pop(target, None)
                return None
            if self._words[self._head_at] != self._head:
                self.seen.pop(target, None)
                found = self.find(target)
                if found is None:
                    return None
                slot = found
        # The row of a moment ago is nearer to the truth than none.
        self._told_head = -1
        return slot

    def _learn(self) -> None:
        head = self._words[self._head_at]
        keys = _keys(self._memory, self._number)
        if head and crc32(keys) != head & 0xFFFFFFFF:
            # The sibling is just writing a key: what was learnt holds until the next look.
            return
        self._head = head
        self.seen.clear()
        self._names.clear()
        each = (keys[start : start + KEY_BYTES] for start in range(0, len(keys), KEY_BYTES))
        self._indices = {key: index for index, key in enumerate(each) if any(key)}


def _words_in(differs: int) -> Iterator[int]:
    """Which words of this number, made of the bytes of a region's words, are not 0."""
    bits = 8 * WORD_BYTES
    while differs:
        index = ((differs & -differs).bit_length() - 1) // bits
        yield index
        differs = differs >> (index + 1) * bits << (index + 1) * bits


def _keys(memory: mmap.mmap, number: int) -> bytes:
    at = number * REGION_BYTES + KEYS_AT
    return memory[at : at + SLOTS * KEY_BYTES]


@lru_cache(4 * SLOTS)
def _key(target: str) -> bytes:
    return blake2b(target.encode(), digest_size=KEY_BYTES).digest()
