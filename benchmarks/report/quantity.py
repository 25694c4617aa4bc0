"""Figures as a person reads them: three significant digits, the unit that fits, a dash for what is not known. Pure."""

from __future__ import annotations

import math

UNKNOWN = "-"
KIB = 1024.0
MILLISECOND = 1e-3
# What rounds to a thousand at three digits.
THOUSAND = 999.5


def seconds(value: float | None) -> str:
    """`850 us`, `31.2 ms`, `1.25 s`, `312 s`."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if value == 0:
        return "0 s"
    if abs(value) < MILLISECOND * THOUSAND / 1e3:
        return f"{digits(value * 1e6)} us"
    return f"{digits(value * 1e3)} ms" if abs(value) < THOUSAND / 1e3 else f"{digits(value)} s"


def seconds_within(value: float, low: float | None, high: float | None) -> str:
    """With its confidence interval in the same unit: `31.2 ms (29.8-32.7)`; without one, the value alone."""
    said = seconds(value)
    if said == UNKNOWN or low is None or high is None:
        return said
    scale = 1e6 if said.endswith("us") else 1e3 if said.endswith("ms") else 1.0
    return f"{said} ({digits(low * scale)}-{digits(high * scale)})"


def number(value: float | None) -> str:
    """`0.042`, `4.2`, `512`, `14,300`."""
    return digits(value) if value is not None and not math.isnan(value) else UNKNOWN


def share(value: float | None) -> str:
    """Of one, as a percentage: `4.2 %`."""
    return f"{digits(value * 100)} %" if value is not None and not math.isnan(value) else UNKNOWN


def change(value: float | None) -> str:
    """Of one, as a signed percentage: `+4.2 %`."""
    return f"{value * 100:+.1f} %" if value is not None and not math.isnan(value) else UNKNOWN


def dollars(value: float | None) -> str:
    """`$12.40`; below a dollar, three significant digits: `$0.0135`."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if value == 0 or abs(value) >= 1:
        return f"${value:,.2f}"
    return f"${digits(value)}"


def size(value: float | None) -> str:
    """Bytes in GiB, or MiB below one: `78.2 GiB`."""
    if value is None or math.isnan(value):
        return UNKNOWN
    gib = value / KIB**3
    return f"{digits(gib)} GiB" if gib >= 1 else f"{digits(value / KIB**2)} MiB"


def counted(count: int, noun: str) -> str:
    """`1 request`, `1,200 requests`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(counts: dict[str, int]) -> str:
    """The largest first: `timeout 8, rate_limited 4`."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda each: -each[1]))


def digits(value: float) -> str:
    """Three significant digits, never in powers of ten; from 1,000 on whole numbers, with separators."""
    if abs(value) >= THOUSAND:
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value)) + 1e-12))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
