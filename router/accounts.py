"""The accounts of all targets, each for as long as it stands in the Fleet or has something in flight."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from msgspec.structs import replace

from router.account import Account
from router.routing.fleet import Place, Target
from router.spilling.load import EngineLoad
from router.spilling.speeds import Speeds

# Members of an enumeration are slow to look up in it.
LOCAL = Place.LOCAL


class Accounts:
    """By `Target.key`. Belongs to `router.watch`."""

    def __init__(self) -> None:
        self._by_key: dict[str, Account] = {}
        # The newest of each name: who takes a name over goes on with what was learned of its answers.
        self._namesakes: dict[str, Account] = {}

    def __repr__(self) -> str:
        return f"<Accounts {len(self._by_key)}>"

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_key.values())

    def of(self, target: Target) -> Account:
        """Where the target is counted; one for it if there is none yet."""
        account = self._by_key.get(target.key)
        if account is None:
            known, is_local = self._namesakes.get(target.name), target.place is LOCAL
            pace = target.pace if known is None else known.pace
            speeds = known.load.speeds if known is not None and known.load is not None else Speeds()
            load = load_of(target, speeds) if is_local else None
            account = self._by_key[target.key] = Account(target.key, target.url if is_local else None, pace, load)
        return account

    def named(self, key: str) -> Account:
        return self._by_key[key]

    def stand(self, targets: Collection[Target]) -> list[tuple[Target, Account]]:
        """These targets and theirs. What is gone is counted until its last request has ended."""
        standing = [(target, self.of(target)) for target in targets]
        self._namesakes.update({target.name: account for target, account in standing})
        there = {target.key for target in targets}
        self._by_key = {key: each for key, each in self._by_key.items() if each.requests or key in there}
        return standing


def load_of(target: Target, speeds: Speeds) -> EngineLoad:
    """Of an engine that has nothing to do yet; what is known of its speeds is kept."""
    load = EngineLoad(speeds)
    describe(load, target)
    return load


def describe(load: EngineLoad, target: Target) -> None:
    """What is known of the engine by now. It tells twice a second, and what has not changed is no news for its line."""
    load.is_opaque = target.load is None and target.slots is None
    most_sequences = target.max_num_seqs if target.slots is None else target.slots
    if most_sequences is not None and most_sequences != load.most_sequences:
        load.most_sequences = most_sequences
    if target.max_num_batched_tokens is not None:
        speeds = load.speeds
        speeds.tempo = replace(speeds.tempo, chunk_tokens=target.max_num_batched_tokens)
