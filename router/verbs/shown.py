"""Words and figures of the verbs, for a terminal."""

from __future__ import annotations

from rich.text import Text

UNKNOWN = "unknown"


def dollars(usd: float | None, digits: int = 4) -> str:
    """What is too little for so many digits is not nothing."""
    if usd is not None and 0.0 < usd < 0.5 * 10**-digits:
        return f"<${10**-digits:.{digits}f}"
    return UNKNOWN if usd is None else f"${usd:,.{digits}f}"


def line(words: str, style: str = "") -> Text:
    return Text(words, style=style, overflow="fold")
