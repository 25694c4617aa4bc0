"""The router's port: one holder, or several that share it, and never with a stranger."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing

import pytest

from router.port import PortError, address, open_port, open_shared_port, port_of


def test_holders_share_a_free_port_and_connections_reach_those_that_listen() -> None:
    with ExitStack() as opened:
        holders = [opened.enter_context(each) for each in open_shared_port("127.0.0.1", 0, 3)]
        port = port_of(holders[0])
        assert [port_of(each) for each in holders] == [port] * 3
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        for each in holders[:2]:
            each.listen(64)
            each.setblocking(False)
        for _ in range(64):
            opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        taken = [_taken(each, opened) for each in holders[:2]]
        assert sum(taken) == 64
        assert min(taken) > 0


def _taken(listening: socket.socket, opened: ExitStack) -> int:
    taken = 0
    while True:
        try:
            opened.enter_context(listening.accept()[0])
        except BlockingIOError:
            return taken
        taken += 1


@pytest.mark.parametrize("holders", [1, 2])
def test_a_port_that_another_router_shares_among_its_workers_is_taken(holders: int) -> None:
    with ExitStack() as opened:
        others = [opened.enter_context(each) for each in open_shared_port("127.0.0.1", 0, 2)]
        others[0].listen()
        port = port_of(others[0])
        with pytest.raises(PortError, match=rf"port 127\.0\.0\.1:{port} is taken by another program; stop it"):
            opened.enter_context(closing(_open(port, holders)))


def _open(port: int, holders: int) -> socket.socket:
    return open_port("127.0.0.1", port) if holders == 1 else open_shared_port("127.0.0.1", port, holders)[0]


def test_a_port_that_one_program_has_is_taken_for_workers_too() -> None:
    with closing(open_port("127.0.0.1", 0)) as other, pytest.raises(PortError, match="is taken by another program"):
        open_shared_port("127.0.0.1", port_of(other), 2)


def test_a_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(PortError, match=r"cannot listen on 203\.0\.113\.9:0: Cannot assign requested address"):
        open_port("203.0.113.9", 0)


@pytest.mark.parametrize(("host", "root"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_an_address_is_a_url(host: str, root: str) -> None:
    with closing(open_port(host, 0)) as bound:
        assert address(bound) == f"{root}{port_of(bound)}/v1"
