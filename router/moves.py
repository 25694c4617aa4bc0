"""What the ledger's file is asked to do with money, what it answers, and why it may refuse. Pure."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from router.spilling.periods import Dollars, Periods

# Of a period, in a sentence about its budget.
THIS = {"hour": "this hour's", "day": "today's", "month": "this month's"}


class LedgerError(Exception):
    """The ledger cannot be written: no money can be set aside, so nothing may go to a cloud. `why` is for clients, who
    need not know where it lies; the whole text says that, and how to mend it."""

    def __init__(self, why: str, path: Path | None = None, advice: str = "") -> None:
        super().__init__((f"{path}: " if path else "") + why + (f"; {advice}" if advice else ""))
        self.why = why


class BudgetSpent(LedgerError):
    """What is spent and set aside in this period, by all workers together, leaves no room for this call."""

    def __init__(self, period: str, spent_usd: float, cap_usd: float, wish: Reserve) -> None:
        super().__init__(
            f"{wish.target} may cost {wish.usd:.6f} dollars, and {spent_usd:.6f} of {THIS[period]} {cap_usd:.2f}"
            " are spent or set aside"
        )
        self.period = period


class LedgerBusy(LedgerError):
    """Another program keeps the file locked. Nothing was written; it may be written later."""


class Reserve(Struct, frozen=True):
    """Set `usd` aside, unless the money of the hour, the day or the month would pass its cap."""

    id: str
    at_unix_s: float
    target: str
    usd: float
    caps: Dollars


class Settle(Struct, frozen=True):
    """Replace what was set aside by what it cost."""

    id: str
    usd: float


class Spent(Struct, frozen=True):
    """Dollars spent or set aside in these periods, by this worker and by the others."""

    periods: Periods
    own: Dollars
    others: Dollars


def refused(wish: Reserve, spent: Spent) -> BudgetSpent | None:
    """Why it may not be set aside; the longest of the periods that forbid it is named, for it lasts the longest."""
    for period in ("month", "day", "hour"):
        cap_usd: float = getattr(wish.caps, period)
        spent_usd: float = getattr(spent.own, period) + getattr(spent.others, period)
        if spent_usd + wish.usd > cap_usd:
            return BudgetSpent(period, spent_usd, cap_usd, wish)
    return None
