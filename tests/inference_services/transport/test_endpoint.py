"""Admission of clients: by which worker, and how many in one loop iteration."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from inference_services.transport.endpoint import Listener, listen


async def iterations(clients: int, fewest: Callable[[int], bool]) -> int:
    """Loop iterations until all clients that wait are accepted."""
    made: list[asyncio.Protocol] = []

    class Client(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(self)
            transport.close()

    opened = listen("127.0.0.1", 0)
    listener = Listener(opened, Client, fewest=fewest)
    listener.open()
    waiting = [socket.create_connection(opened.getsockname()) for _ in range(clients)]
    count = 0
    while len(made) < clients and count < 100_000:
        await asyncio.sleep(0)
        count += 1
    listener.close()
    for client in waiting:
        client.close()
    assert len(made) == clients
    return count


@pytest.mark.parametrize(("clients", "most"), [(1, 10), (200, 30)])
def test_a_crowd_gets_in_within_few_iterations_of_a_busy_loop(clients: int, most: int) -> None:
    assert uvloop.run(iterations(clients, lambda more: True)) <= most


def test_a_worker_with_more_clients_leaves_them_to_another_but_not_for_ever() -> None:
    asked: list[int] = []
    assert uvloop.run(iterations(3, lambda more: asked.append(more) is not None)) > 0
    assert 0 in asked
