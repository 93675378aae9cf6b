"""Which requests come from the monitor's own host."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from inference_services.drift_monitor.app import _is_here


@pytest.mark.parametrize(
    ("client", "server", "here"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "10.0.0.5", True),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.6", "10.0.0.5", False),
        ("somewhere", "10.0.0.5", False),
    ],
)
def test_events_come_over_loopback_or_from_the_address_that_they_came_to(client: str, server: str, here: bool) -> None:
    asked = Request({"type": "http", "client": (client, 1), "server": (server, 9191), "headers": []})
    assert _is_here(asked) is here
