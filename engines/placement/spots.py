"""Where an engine of a want could run: groups of GPUs, each with the shapes that fit there. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

from engines.gpus.gpu import Gpu, Path
from engines.gpus.islands import groups_of
from engines.memory import ollama, parallel
from engines.placement.bounds import requests
from engines.placement.room import Room
from engines.placement.shapes import OLLAMA, Cut, cuts_on
from engines.placement.want import Rules, Want

# Making groups takes about as long as seating so many engines.
NEW_GROUPS = 200
RANK = {path: rank for rank, path in enumerate(Path)}


@dataclass(frozen=True, slots=True)
class Spot:
    """GPUs (places in the list of rooms) on which an engine could run, were it alone there; its cuts, richest first.

    `floor_bytes`: the least that it takes of each of them. `distance` of the two furthest of them: the rank of the path
    between them, 0 for one GPU and for NVLink.
    """

    gpus: tuple[int, ...]
    cuts: tuple[Cut, ...]
    floor_bytes: int
    boards: frozenset[str]
    distance: int

    @property
    def size(self) -> int:
        return len(self.gpus)

    @property
    def leanest(self) -> Cut:
        return self.cuts[-1]


class Ground:
    """The GPUs of one placement, and what every want asks of them alike: groups and distances, each found once."""

    def __init__(self, rooms: Sequence[Room], rules: Rules) -> None:
        self.rooms = tuple(rooms)
        self.gpus = tuple(room.gpu for room in rooms)
        self.rules = rules
        self._place = {gpu.uuid: number for number, gpu in enumerate(self.gpus)}
        self._path = {(gpu.uuid, link.peer_uuid): RANK[link.path] for gpu in self.gpus for link in gpu.links}
        self._groups: dict[tuple[int, tuple[int, ...]], tuple[tuple[int, ...], ...]] = {}
        self._spans: dict[tuple[int, ...], int] = {}

    @property
    def everywhere(self) -> tuple[int, ...]:
        return tuple(range(len(self.gpus)))

    def groups(self, size: int, among: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Candidates for an engine on `size` of these GPUs, best connected first: all of them, or some if many."""
        key = size, among
        if key not in self._groups:
            found = groups_of([self.gpus[number] for number in among], size)
            self._groups[key] = tuple(tuple(self._place[uuid] for uuid in group) for group in found)
        return self._groups[key]

    def are_all(self, size: int, among: tuple[int, ...]) -> bool:
        """Whether `groups` are all that exist: of GPUs of one model, and of no MIG instances but one alone."""
        whole = Counter((gpu.name, gpu.capability) for gpu in map(self.gpus.__getitem__, among) if not gpu.parent_uuid)
        return size == 1 or len(self.groups(size, among)) == sum(comb(count, size) for count in whole.values())

    def distance(self, one: int, other: int) -> int:
        """Of a pair, by the worse of what its two ends tell; unknown is further than anything known."""
        ends = self.gpus[one].uuid, self.gpus[other].uuid
        return max(self._path.get(ends, len(RANK)), self._path.get(ends[::-1], len(RANK)))

    def span(self, group: tuple[int, ...]) -> int:
        """The distance of the two furthest."""
        if group not in self._spans:
            self._spans[group] = max((self.distance(*pair) for pair in combinations(group, 2)), default=0)
        return self._spans[group]


class Spots:
    """All spots of one want on a ground. `refusal` says why there is none, where it is not for lack of memory."""

    def __init__(self, want: Want, ground: Ground) -> None:
        self._want = want
        self._ground = ground
        self._cuts: dict[object, tuple[Cut, ...] | str] = {}
        self._among: dict[tuple[int, tuple[int, ...]], tuple[Spot, ...]] = {}
        self._whole: dict[int, bool] = {}
        fault = _fault(want, len(ground.gpus))
        self._tried = () if fault else tuple(_sizes(want, len(ground.gpus)))
        self.sizes = tuple(size for size in self._tried if self.of(size))
        self.refusal = fault or ("" if self.sizes else self._why_none())
        # The least that an engine takes of all GPUs together.
        self.least_bytes = min((spot.floor_bytes * spot.size for spot in self.every()), default=0)

    def _why_none(self) -> str:
        """Nothing, if some GPUs could run the model and only lack memory."""
        if not any(self._ground.groups(size, self._ground.everywhere) for size in self._tried):
            return _too_few(self._want, self._ground.gpus)
        said = [cuts for cuts in self._cuts.values() if isinstance(cuts, str)]
        return " ".join(dict.fromkeys(said)) if len(said) == len(self._cuts) else ""

    def of(self, size: int) -> tuple[Spot, ...]:
        """On so many GPUs, best connected first."""
        return self.among(size, self._ground.everywhere)

    def among(self, size: int, gpus: tuple[int, ...]) -> tuple[Spot, ...]:
        """On so many of these GPUs, best connected first."""
        if (size, gpus) not in self._among:
            found = (self.spot(group) for group in self._ground.groups(size, self._large_enough(size, gpus)))
            self._among[size, gpus] = tuple(spot for spot in found if spot is not None)
        return self._among[size, gpus]

    def _large_enough(self, size: int, gpus: tuple[int, ...]) -> tuple[int, ...]:
        """Those with room for a part of an engine on so many: of many GPUs only some groups are listed, so none should
        be in the list in vain."""
        rooms = self._ground.rooms
        cuts = ((gpu, self._cuts_on(size, [self._ground.gpus[gpu]])) for gpu in gpus)
        return tuple(
            gpu for gpu, fit in cuts if not isinstance(fit, str) and fit[-1].floor_bytes <= rooms[gpu].free_bytes
        )

    def work(self, size: int, gpus: tuple[int, ...]) -> int:
        """How much `among` would have to do: nothing if it has been asked before, else about that many steps."""
        return 0 if (size, gpus) in self._among else NEW_GROUPS

    def every(self) -> Iterable[Spot]:
        return (spot for size in self.sizes for spot in self.of(size))

    def is_whole(self, size: int) -> bool:
        """Whether `of` holds all groups of that size that exist."""
        if size not in self._whole:
            large_enough = self._large_enough(size, self._ground.everywhere)
            self._whole[size] = self._ground.are_all(size, large_enough)
        return self._whole[size]

    def spot(self, group: tuple[int, ...]) -> Spot | None:
        """On exactly these GPUs; None if they cannot run the model or hold too little."""
        cuts = self._cuts_on(len(group), [self._ground.gpus[number] for number in group])
        free = min(self._ground.rooms[number].free_bytes for number in group)
        fit = () if isinstance(cuts, str) else tuple(cut for cut in cuts if cut.floor_bytes <= free)
        if not fit:
            return None
        boards = frozenset(self._ground.rooms[number].board for number in group)
        return Spot(group, fit, fit[-1].floor_bytes, boards, self._ground.span(group))

    def _cuts_on(self, size: int, members: Sequence[Gpu]) -> tuple[Cut, ...] | str:
        cuda_bytes = [gpu.cuda_bytes for gpu in members]
        kind = size, members[0].name, members[0].capability, min(cuda_bytes), max(cuda_bytes)
        if kind not in self._cuts:
            self._cuts[kind] = cuts_on(self._want, size, members, self._ground.rules)
        return self._cuts[kind]

    def before(self, uuids: Sequence[str], size: int) -> Spot | None:
        """Where the engine was in the plan before, if it may be there again in the same size."""
        group = tuple(number for number, gpu in enumerate(self._ground.gpus) if gpu.uuid in uuids)
        kinds = {
            (gpu.name, gpu.capability, size > 1 and gpu.parent_uuid)
            for gpu in map(self._ground.gpus.__getitem__, group)
        }
        may = size in self._tried and len(kinds) == 1 and len(group) == len(uuids) == size
        return self.spot(group) if may else None


def _fault(want: Want, gpus: int) -> str | None:
    """What no GPU could change, as a sentence."""
    most = want.model.architecture.context_tokens
    if want.context_tokens > most:
        return f"context_tokens = {want.context_tokens} is more than the {most} tokens that the model was made for."
    if want.engine == OLLAMA:
        return ollama_fault(want)
    if want.tensor_parallel is None:
        return None
    if want.tensor_parallel > gpus:
        return f"tensor_parallel = {want.tensor_parallel} needs as many GPUs and there are {gpus}."
    sentence = parallel.refusal(want.model, want.tensor_parallel)
    return sentence and f"tensor_parallel = {want.tensor_parallel}: {sentence}"


def ollama_fault(want: Want) -> str | None:
    """That Ollama serves fewer requests of this family at once than are promised."""
    slots = ollama.slots_of(want.model.architecture, requests(want))
    if slots == requests(want):
        return None
    family = want.model.architecture.name
    return f"concurrent_requests = {requests(want)}, but Ollama serves {family} with {slots} request at a time."


def _too_few(want: Want, gpus: Sequence[Gpu]) -> str:
    if not gpus:
        return "there is no GPU."
    return (
        f"tensor_parallel = {want.tensor_parallel} needs as many whole GPUs of one model; no model is there so often."
    )


def _sizes(want: Want, gpus: int) -> Iterable[int]:
    if want.tensor_parallel is not None:
        return (want.tensor_parallel,)
    return range(1, gpus + 1) if want.engine == OLLAMA else parallel.sizes(want.model, gpus)
