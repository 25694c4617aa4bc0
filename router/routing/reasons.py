"""Why a request runs where it runs: the word in `x-spillway-reason`, in the ledger and in each decision. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from router.ask import Ask
from router.routing.filters import FITS_CONTEXT
from router.routing.fleet import Place, Target
from router.routing.passing import BUDGET, ESCALATED, Money, why_passed
from router.routing.ranking import Past, Rank, Ranked
from router.routing.terms import Terms
from router.tables.strategy import Strategy

PRIVACY = "privacy"
AFFINITY = "affinity"
OFF = "fallback:off"
STARTS = "fallback:starting"
CANNOT = "fallback:capability"
SATURATED = "fallback:saturated"
# Members of an enumeration are slow to look up in it.
CLOUD = Place.CLOUD


def why_there(ask: Ask, ranked: Ranked, first: Target, terms: Terms, money: Money, past: Past) -> str:
    """The Ask's own reason, unless it must stay at home or a target that goes before could not be used."""
    if ask.local_only:
        return PRIVACY
    mine = ranked.rank_of(first)
    for rank in ranked.ranks:
        if rank is mine:
            break
        skipped = next(iter(rank))
        # Targets of the same group and place are each as good as the other.
        if rank.group == mine.group and skipped.place is first.place:
            continue
        if skipped.starting:
            # Who runs at home because a cloud still starts has not spilled.
            return STARTS if skipped.place is CLOUD else started_without(terms)
        return OFF if skipped.off is not None else why_passed(ask, skipped, money)
    return _why_not_before(ranked, mine) or (AFFINITY if _is_home(ask, first, terms, past) else ask.how)


def _why_not_before(ranked: Ranked, mine: Rank) -> str | None:
    """Who would have gone before this rank, were it not for a filter. None if nobody would."""
    if not mine.group and not ranked.dropped:
        return None
    here = (mine.group, mine.position)
    before = [each.rule for each in ranked.shut_out if (each.group, each.position) < here]
    if FITS_CONTEXT in before:
        return ESCALATED
    # It is no news that the cloud which a tier prefers cannot do what is asked; it is of a model that was asked for.
    return None if not mine.group else CANNOT if before else OFF


def _is_home(ask: Ask, first: Target, terms: Terms, past: Past) -> bool:
    """Whether it has read the beginning of the prompt before, and that is why it was taken."""
    if not ask.prefixes or not terms.weights.get(Strategy.AFFINITY):
        return False
    return past.affinity.home(ask.prefixes)[0] == first.name


def why_no_spill(ask: Ask, ranked: Ranked, money: Money) -> str | None:
    """Why a spill that is due stays at home: the clouds failed, are full or cost too much. None where there is none."""
    clouds = [each for each in ranked.targets if each.place is CLOUD and each.off is None]
    reasons = [why_passed(ask, each, money) for each in clouds]
    return next((each for each in reasons if each != BUDGET), BUDGET) if reasons else None


def unheard(reason: str, targets: Sequence[Target], terms: Terms) -> str:
    """Before the engines have been heard of, a tier that prefers them is served elsewhere because they start."""
    elsewhere = bool(targets) and targets[0].place is CLOUD
    return started_without(terms) if elsewhere and terms.prefers_engines else reason


def started_without(terms: Terms) -> str:
    return "spill:starting" if terms.may_spill else STARTS
