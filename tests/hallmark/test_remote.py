"""Connections that fail, told in the system's own words."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
import urllib3

from hallmark.remote import broken
from tests.inference_services.runtime.served import free_port


@pytest.mark.parametrize(
    "ask",
    [
        lambda url: urllib3.PoolManager().request("GET", url, retries=1),
        httpx.get,
    ],
)
def test_a_port_where_nobody_listens_refuses(ask: Callable[[str], object]) -> None:
    with pytest.raises((urllib3.exceptions.HTTPError, httpx.TransportError)) as caught:
        ask(f"http://127.0.0.1:{free_port()}/")
    assert "Connection refused" in broken(caught.value) and "Pool" not in broken(caught.value)


def test_what_has_no_words_of_the_system_keeps_its_name() -> None:
    assert broken(ValueError("odd")) == "ValueError: odd"
