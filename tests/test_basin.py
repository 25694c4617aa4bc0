"""The waiting room before engines: who waits is woken by room, by news, or by nobody when its client has gone."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from router.ask import Ask
from router.basin import Basin
from router.errand import Errand
from router.routing.fleet import Target
from router.routing.passing import Money
from router.ticket import Ticket
from router.wants import Arrival
from router.watch import Flight, Usage, Watch
from tests.specimens import ENVIRONMENT, RULES, ask, snapshot

# The engine has room for 10,000 tokens, and this tier does not spill.
LARGE = replace(ask(prompt_bytes=24_000, model="smoke"), tier="bulk")


class Client:
    """Asks for a place and remembers what it got."""

    def __init__(self, basin: Basin, watch: Watch, asked: Ask = LARGE) -> None:
        self.ticket: Ticket | None = None
        self._basin, self._watch, self._asked = basin, watch, asked
        self.errand = Errand(self._ask())
        self.errand.run()

    async def _ask(self) -> None:
        now_s = asyncio.get_running_loop().time()
        gate = self._watch.decide(self._asked, Money(10.0), now_s).gate
        assert gate is not None
        self.ticket = await self._basin.place(Arrival(self._asked, gate, now_s, now_s), again=False)


async def turns(count: int = 3) -> None:
    """Until what is due in the next turns of the loop has been done."""
    for _ in range(count):
        await asyncio.sleep(0)


def flying(watch: Watch, client: Client) -> Flight:
    assert client.ticket is not None
    now_s = asyncio.get_running_loop().time()
    flight = watch.start(LARGE, target_of(watch, now_s), now_s, client.ticket)
    watch.first_token(flight, now_s)
    return flight


def target_of(watch: Watch, now_s: float) -> Target:
    return watch.view(now_s).targets[0]


@pytest.fixture
async def watch() -> Watch:
    watch = Watch(RULES, environment=ENVIRONMENT)
    watch.heard(snapshot(), asyncio.get_running_loop().time())
    return watch


async def test_whoever_finds_room_does_not_wait(watch: Watch) -> None:
    basin = Basin(watch)
    client = Client(basin, watch)
    assert client.ticket is not None
    assert client.ticket.placed is not None
    assert len(basin) == 0


async def test_whoever_waits_goes_on_when_somebody_has_ended(watch: Watch) -> None:
    basin = Basin(watch)
    first = flying(watch, Client(basin, watch))
    second = Client(basin, watch)
    assert second.ticket is None
    watch.finish(first, Usage(6000, 100), asyncio.get_running_loop().time(), is_whole=True)
    await turns()
    assert second.ticket is not None
    assert second.ticket.placed is not None
    assert len(basin) == 0


async def test_whoever_leaves_while_it_waits_is_forgotten(watch: Watch) -> None:
    basin = Basin(watch)
    first = flying(watch, Client(basin, watch))
    second, third = Client(basin, watch), Client(basin, watch)
    second.errand.cancel()
    watch.finish(first, Usage(6000, 100), asyncio.get_running_loop().time(), is_whole=True)
    await turns()
    assert second.ticket is None
    assert third.ticket is not None
    assert third.ticket.placed is not None


async def test_news_send_everybody_back_to_be_decided_anew(watch: Watch) -> None:
    basin = Basin(watch)
    flying(watch, Client(basin, watch))
    second = Client(basin, watch)
    basin.stir()
    await turns()
    assert second.ticket is not None
    assert second.ticket.placed is None
    assert [line.waiting for line in watch.pools.shown(0.0)] == [0]
