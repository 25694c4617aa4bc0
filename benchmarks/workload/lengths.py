"""How long prompts and answers are: laws of token counts, read from text. Pure; the randomness is handed in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

FORMS = "128, uniform:10-200, normal:128,30, lognormal:MEDIAN,SIGMA or exponential:MEAN"
MOST = 10_000_000
WIDEST_SIGMA = 10.0
NUMBER = re.compile(r"\d+(\.\d+)?")
# The numbers that each law needs, and what stands between them.
PARTS = {"fixed": 1, "uniform": 2, "normal": 2, "lognormal": 2, "exponential": 1}
BETWEEN = {"uniform": "-"}


@dataclass(frozen=True, slots=True)
class Lengths:
    """A law of token counts. Its numbers: fixed (tokens), uniform (least, most, both included), normal (mean, standard
    deviation), lognormal (median, sigma of the logarithm), exponential (mean). Draws are clipped to 1 and `most`.
    """

    law: str
    numbers: tuple[float, ...]
    most: int = MOST

    def draw(self, rng: Random) -> int:
        """One length in tokens."""
        return min(max(round(self._drawn(rng)), 1), self.most)

    def _drawn(self, rng: Random) -> float:
        first, second = self.numbers[0], self.numbers[-1]
        match self.law:
            case "uniform":
                return rng.randint(round(first), round(second))
            case "normal":
                return rng.normalvariate(first, second)
            case "lognormal":
                return first * rng.lognormvariate(0.0, second)
            case "exponential":
                return rng.expovariate(1 / first)
            case _:
                return first

    def __str__(self) -> str:
        numbers = BETWEEN.get(self.law, ",").join(f"{number:g}" for number in self.numbers)
        return numbers if self.law == "fixed" else f"{self.law}:{numbers}"


def lengths_in(text: str, most: int = MOST) -> Lengths:
    """From one of `FORMS`. Raises ValueError with a sentence."""
    law, found, rest = text.strip().partition(":")
    law, rest = (law.strip(), rest) if found else ("fixed", law)
    parts = [part.strip() for part in rest.split(BETWEEN.get(law, ","))]
    if law not in PARTS or len(parts) != PARTS[law] or not all(NUMBER.fullmatch(part) for part in parts):
        raise ValueError(f"{text!r} is no length in tokens; write {FORMS}")
    lengths = Lengths(law, tuple(float(part) for part in parts), most)
    if lengths.numbers[0] < 1:
        raise ValueError(f"{text!r}: a length is at least 1 token")
    if law == "lognormal" and lengths.numbers[1] > WIDEST_SIGMA:
        raise ValueError(f"{text!r}: sigma is that of the logarithm, about 0.3 to 2, not of the tokens")
    if law == "uniform" and lengths.numbers[0] > lengths.numbers[1]:
        raise ValueError(f"{text!r}: the least comes first, such as uniform:10-200")
    return lengths
