"""The client that calls a model: as many requests as asked for, and everything counted."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.web import serving
from tools.traffic import Traffic


@pytest.mark.parametrize("most", [1, 3, 40])
def test_no_more_requests_are_sent_than_asked_for(most: int) -> None:
    bodies = []

    async def infer(request: Request) -> Response:
        bodies.append(await request.body())
        return Response(status_code=503 if len(bodies) == most else 200, headers={"x-hallmark-variant": "stable"})

    app = Starlette(routes=[Route("/infer", infer, methods=["POST"])])
    with serving(app) as url, Traffic(f"{url}/infer", [b"1", b"2"], rate=500, most=most) as traffic:
        tally = traffic.done(seconds=30)
    assert (tally.requests, tally.failed, len(bodies), len(traffic.answers)) == (most, 1, most, most)
