"""What users may send: a seeded generator of questions, code, data, other languages, noise and long texts.

The smoke model must answer alike whatever stands before, so breadth matters here and meaning does not.
"""

import json
import random
import tomllib
from pathlib import Path
from string import Template

from engines.smoke.sentences import answer

_PHRASES: dict[str, list[str]] = tomllib.loads((Path(__file__).parent / "phrases.toml").read_text(encoding="utf-8"))
SENTENCES = (_PHRASES["questions"], _PHRASES["orders"], _PHRASES["statements"])
NAMES = _PHRASES["names"]

# Roughly as often as English uses them.
LETTERS = "eeaaoitnsrhldcumfpgwybvkxjqz"

# How much of all pieces is very short, in another language, or words of the model thrown back at it.
SHORT_SHARE = 0.06
FOREIGN_SHARE = 0.08
QUOTED_SHARE = 0.05
# How many texts end wherever their room does, in the middle of a word too.
CUT_SHARE = 0.5

# Scripts to draw noise from, as ranges of code points: ASCII, Latin, Greek and Cyrillic, Arabic, CJK, symbols, emoji.
SCRIPTS = (
    (32, 127),
    (32, 127),
    (160, 592),
    (880, 1280),
    (1536, 1792),
    (0x4E00, 0x9FFF),
    (0x2000, 0x2BFF),
    (0x1F300, 0x1F6FF),
)


def _fill(pattern: str, rng: random.Random) -> str:
    return Template(pattern).safe_substitute(
        t=rng.choice(_PHRASES["things"]),
        u=rng.choice(_PHRASES["things"]),
        p=rng.choice(_PHRASES["people"]),
        s=rng.choice(_PHRASES["styles"]),
        a=rng.choice(NAMES),
        b=rng.choice(NAMES),
        n=rng.randrange(1, 10 ** rng.randrange(1, 6)),
        m=rng.randrange(2, 3000),
    )


def _sentence(rng: random.Random) -> str:
    return _fill(rng.choice(rng.choice(SENTENCES)), rng)


def _code(rng: random.Random) -> str:
    return "".join(_fill(rng.choice(_PHRASES["code"]), rng) for _ in range(rng.randrange(1, 4)))


def _data(rng: random.Random) -> str:
    record = {rng.choice(NAMES): rng.choice((rng.random(), rng.randrange(9999), _sentence(rng), None, True, [1, 2]))}
    more = {rng.choice(NAMES): [rng.randrange(99) for _ in range(rng.randrange(6))], rng.choice(NAMES): record}
    return json.dumps(rng.choice((record, more)), indent=rng.choice((None, 2)))


def _numbers(rng: random.Random) -> str:
    between = rng.choice((" ", ", ", "\n", " + ", "\t"))
    return between.join(str(rng.randrange(10 ** rng.randrange(1, 9))) for _ in range(rng.randrange(1, 30)))


def _noise(rng: random.Random) -> str:
    low, high = rng.choice(SCRIPTS)
    return "".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 60)))


def _letters(rng: random.Random) -> str:
    count = rng.randrange(1, 25)
    words = ("".join(rng.choices(LETTERS, k=rng.randrange(1, 11))) for _ in range(count))
    return rng.choice((" ".join, " ".join, ", ".join))([rng.choice((w, w, w.title(), w.upper())) for w in words])


def _repeated(rng: random.Random) -> str:
    unit = rng.choice(("ha", "\n", " ", "test ", "the ", "0", ". ", chr(rng.randrange(33, 127)), _sentence(rng)))
    return unit * rng.randrange(2, rng.choice((40, 600)))


def _shuffled(rng: random.Random) -> str:
    # The model's own words in no order, so that meeting one of them does not start an answer half-way.
    words = f"{answer(rng)} {_sentence(rng)}".split()
    return " ".join(rng.sample(words, rng.randrange(1, len(words))))


def _quoted(rng: random.Random) -> str:
    said = answer(rng)
    return rng.choice(("You said: {}", 'Why did you write "{}"?', "{}", "{} Is that true?")).format(
        said[rng.randrange(len(said) // 2) : rng.randrange(len(said) // 2, len(said))]
    )


KINDS = (_sentence, _sentence, _sentence, _code, _data, _numbers, _noise, _letters, _shuffled, _repeated)


def piece(rng: random.Random) -> str:
    """One short piece of some kind: a sentence, code, data, numbers, another language, noise."""
    roll = rng.random()
    if roll < SHORT_SHARE:
        return rng.choice(_PHRASES["short"])
    if roll < SHORT_SHARE + FOREIGN_SHARE:
        return rng.choice(_PHRASES["foreign"])
    if roll < SHORT_SHARE + FOREIGN_SHARE + QUOTED_SHARE:
        return _quoted(rng)
    text = rng.choice(KINDS)(rng)
    return rng.choice((text, text, text, text.upper(), text.lower()))


def prompt(rng: random.Random, chars: int) -> str:
    """A user's text of about `chars` characters at most; often one piece, else many joined, sometimes cut anywhere."""
    text = piece(rng)
    kind = rng.choice((piece, piece, rng.choice(KINDS)))
    between = rng.choice((" ", " ", "\n", "\n\n", "\n- "))
    while len(text) < chars:
        text += between + kind(rng)
    return text[:chars] if rng.random() < CUT_SHARE else text[: 2 * chars]


def system(rng: random.Random) -> str:
    return " ".join(_fill(rng.choice(_PHRASES["systems"]), rng) for _ in range(rng.randrange(1, 4)))
