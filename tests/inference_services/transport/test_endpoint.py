"""Who takes clients in, and how many in a turn of the loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from inference_services.transport.endpoint import Door, listen


async def turns(clients: int, fewest: Callable[[int], bool]) -> int:
    """Turns of the loop until all clients that wait at the door are in."""
    made: list[asyncio.Protocol] = []

    class Client(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(self)
            transport.close()

    listener = listen("127.0.0.1", 0)
    door = Door(listener, Client, fewest=fewest)
    door.open()
    waiting = [socket.create_connection(listener.getsockname()) for _ in range(clients)]
    count = 0
    while len(made) < clients and count < 100_000:
        await asyncio.sleep(0)
        count += 1
    door.close()
    for client in waiting:
        client.close()
    assert len(made) == clients
    return count


@pytest.mark.parametrize(("clients", "most"), [(1, 10), (200, 30)])
def test_a_crowd_gets_in_within_few_turns_of_a_busy_loop(clients: int, most: int) -> None:
    assert uvloop.run(turns(clients, lambda more: True)) <= most


def test_a_worker_with_more_clients_leaves_them_to_another_but_not_for_ever() -> None:
    asked: list[int] = []
    assert uvloop.run(turns(3, lambda more: asked.append(more) is not None)) > 0
    assert 0 in asked
