"""Objects of a real API server as they are, and each change of them: a list, then a watch, again and again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

Json = dict[str, Any]
Seen = Callable[[Json, bool], None]

_AGAIN_SECONDS = 0.5


def client(kubeconfig: Path) -> httpx.AsyncClient:
    """A client of the cluster of a kubeconfig that has one context, with a token."""
    found = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    cluster, user = found["clusters"][0]["cluster"], found["users"][0]["user"]
    return httpx.AsyncClient(
        base_url=cluster["server"],
        headers={"Authorization": f"Bearer {user['token']}"},
        verify=ssl.create_default_context(cafile=cluster["certificate-authority"]),
        trust_env=False,
        timeout=30,
    )


async def follow(api: httpx.AsyncClient, path: str, seen: Seen, **chosen: str) -> None:
    """Call `seen` with each object of a collection and whether it is gone, until cancelled.   chosen: selectors."""
    while True:
        # A watch ends when the API server wants it to, and whenever that is away.
        with contextlib.suppress(httpx.HTTPError):
            await _once(api, path, seen, chosen)
        await asyncio.sleep(_AGAIN_SECONDS)


async def _once(api: httpx.AsyncClient, path: str, seen: Seen, chosen: dict[str, str]) -> None:
    listed = (await api.get(path, params=chosen)).raise_for_status().json()
    for each in listed["items"]:
        seen(each, False)
    asked = {**chosen, "watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"]}
    async with api.stream("GET", path, params=asked, timeout=None) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            event = json.loads(line)
            if event["type"] == "ERROR":
                return
            seen(event["object"], event["type"] == "DELETED")
