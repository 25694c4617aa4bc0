"""Which models would have to take turns so that one without a place has one. Pure; every answer was placed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from engines.placement.place import Placement
from engines.placement.turns import Place, take_turns
from engines.placement.want import Want

# Models that are tried as partners of one that does not fit, those wanted last first.
MOST_PARTNERS = 4


def turn_words(
    wants: Sequence[Want], name: str, lost: Iterable[str], placed: Place
) -> tuple[str, tuple[Want, ...]] | None:
    """Which models need not be kept so that this one has a place: in words, and as wants that fit so. `lost` have none
    already. None where taking turns does not help it."""
    known = set(lost)
    others = [want.name for want in reversed(wants) if want.name != name and want.keep]
    for partners in (*([each] for each in others[:MOST_PARTNERS]), others[1:] and others):
        changed = tuple(replace(want, keep=want.keep and want.name not in (name, *partners)) for want in wants)
        unplaced = take_turns(changed, placed).unplaced if partners else ()
        if partners and all(each.want != name and each.name in known for each in unplaced):
            mine = [want.name for want in wants if want.keep and want.name in (name, *partners)]
            return f"keep = false on {_listed(mine)}: they take turns", changed
    return None


def with_turn_ways(found: Placement, wants: Sequence[Want], placed: Place) -> Placement:
    """The same with taking turns among the ways of what has no place, where it helps."""
    lost = {each.name for each in found.unplaced}
    ways = {each.want: turn_words(wants, each.want, lost, placed) for each in found.unplaced}
    unplaced = (
        replace(each, ways=(*each.ways, way[0])) if (way := ways[each.want]) else each for each in found.unplaced
    )
    return replace(found, unplaced=tuple(unplaced))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
