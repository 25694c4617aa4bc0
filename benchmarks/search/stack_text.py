"""A stack file with a few keys changed and everything else, comments above all, as it stands. Pure: text in, text out.

Every change is proved: the result is read again and must hold exactly what was asked for.
"""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import unified_diff
from itertools import pairwise
from typing import Any

# Only a line feed ends a line of TOML; Python knows more.
LINE = r"[^\n]*\n|[^\n]+"
DELETE = "\x7f"


def edited(text: str, table: str, changes: Mapping[str, Any]) -> str:
    """`table` such as `models.smoke`; a value of None takes the key out. Raises ValueError where it cannot be done."""
    wanted = copy.deepcopy(tomllib.loads(text))
    place = wanted
    for part in table.split("."):
        place = place.setdefault(part, {})
    for key, value in changes.items():
        text = _changed(text, table, key, value)
        place.pop(key, None)
        if value is not None:
            place[key] = value
    if not _holds(text, wanted):
        raise ValueError(
            f"the keys {', '.join(changes)} of [{table}] cannot be changed in place: write each on a line of its own."
        )
    return text


def difference(before: str, after: str, name: str) -> str:
    """As a unified diff that `git apply` and `patch -p1` take."""
    old, new = re.findall(LINE, before), re.findall(LINE, after)
    lines = unified_diff(old, new, f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _holds(text: str, wanted: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def _changed(text: str, table: str, key: str, value: Any) -> str:
    lines = text.removesuffix("\n").split("\n") if text else []
    span = _table(lines, table)
    if span is None:
        if value is None:
            return text
        lines += [*([""] if lines else []), f"[{table}]"]
        span = range(len(lines) - 1, len(lines))
    found = _key(lines, span, key)
    if value is None:
        lines[found.start : found.stop] = []
    elif found:
        lines[found.start : found.stop] = [_line(lines[found.start : found.stop], key, value)]
    elif (former := _commented(lines, span, key)) is not None:
        lines[former] = _line([lines[former].lstrip("# ")], key, value, _comment_column(lines[former]))
    else:
        lines.insert(_end_of_keys(lines, span), f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _table(lines: Sequence[str], table: str) -> range | None:
    """From its heading to the line before the next one."""
    headings = [number for number, line in enumerate(lines) if re.match(r"\s*\[", line) and _heading(line) is not None]
    for number, following in pairwise([*headings, len(lines)]):
        if _heading(lines[number]) == table:
            return range(number, following)
    return None


def _heading(line: str) -> str | None:
    """`models.smoke` of `[models.smoke]`; None of a line that only looks like one, as in a list over several lines."""
    found = re.match(r"\s*\[\[?\s*([^\[\]=,]+?)\s*\]\]?\s*(#.*)?$", line)
    return None if found is None else ".".join(part.strip().strip("\"'") for part in found[1].split("."))


def _key(lines: Sequence[str], span: range, key: str) -> range:
    """The lines of a key and its value; empty where the table does not have it."""
    for number in span:
        if re.match(rf"\s*{re.escape(key)}\s*=", lines[number]):
            ends = (end for end in range(number + 1, span.stop + 1) if _parses("\n".join(lines[number:end])))
            return range(number, next(ends, number + 1))
    return range(0)


def _commented(lines: Sequence[str], span: range, key: str) -> int | None:
    """The line where the file shows the key, commented out."""
    shown = (number for number in span if re.match(rf"\s*#\s*{re.escape(key)}\s*=", lines[number]))
    return next(shown, None)


def _end_of_keys(lines: Sequence[str], span: range) -> int:
    """Below the last key of the table, above the comments that belong to the next."""
    ends = [span.start + 1]
    for number in span[1:]:
        name = re.match(r"\s*([\w-]+)\s*=", lines[number])
        if name:
            ends.append(_key(lines, range(number, span.stop), name[1]).stop)
    return max(ends)


def _line(old: Sequence[str], key: str, value: Any, column: int | None = None) -> str:
    """The key with its new value; the comment behind the old one stays, in its column if there is room."""
    indent = re.match(r"\s*", old[0])
    made = f"{indent[0] if indent else ''}{key} = {_toml(value)}"
    at = _comment(old[-1]) if len(old) == 1 else None
    if at is None:
        return made
    return f"{made} ".ljust(column if column is not None else at) + old[-1][at:]


def _comment(line: str) -> int | None:
    """Where the comment behind a value begins; a `#` within a text is none."""
    return next((at for at, sign in enumerate(line) if sign == "#" and at and _parses(line[:at])), None)


def _comment_column(line: str) -> int | None:
    """The column of the second comment of a key that is commented out."""
    bare = line.lstrip("# ")
    at = _comment(bare)
    return None if at is None else at + len(line) - len(bare)


def _parses(text: str) -> bool:
    try:
        return bool(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        return False


def _toml(value: Any) -> str:
    """A value of the kinds that stack.toml holds."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(each) for each in value)}]"
    # The escapes of JSON are those of TOML, which wants one more character escaped.
    return json.dumps(value, ensure_ascii=False).replace(DELETE, "\\u007f")
