"""Prometheus: the real one where it is installed, and a stand-in that says what a real one rarely does."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from hallmark.errors import Unavailable
from hallmark.rollout.prometheus import Prometheus
from hallmark.rollout.samples import Sample
from local_cluster.samples import parse
from tests.web import serving

NAMES = ("envoy_hallmark_requests", "envoy_hallmark_milliseconds_bucket")
TEXT = """# TYPE envoy_hallmark_requests counter
envoy_hallmark_requests{service="fraud/fraud",revision="fraud-2",answered="canary",code="2xx"} 41
envoy_hallmark_requests{service="fraud/fraud",revision="fraud-2",answered="stable",code="2xx"} 1e3
envoy_hallmark_milliseconds_bucket{revision="fraud-2",le="50"} 12
envoy_hallmark_milliseconds_bucket{revision="fraud-2",le="+Inf"} 13
envoy_hallmark_milliseconds_sum{revision="fraud-2"} 77
envoy_hallmark_requests{revision="strange \\"one\\"\\\\"} NaN
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(true: Callable[[], object], *, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not so after {seconds:g} s"
        time.sleep(0.1)


# A stand-in: one answer, and what it was asked.


class Fake:
    def __init__(self, answer: Any, status: int = 200) -> None:
        self.answer, self.status = answer, status
        self.asked: list[dict[str, str]] = []
        self.tokens: list[str] = []

    async def query(self, request: Request) -> Response:
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        self.asked.append(dict(parse_qsl((await request.body()).decode(), strict_parsing=True)))
        self.tokens.append(request.headers.get("authorization", ""))
        if isinstance(self.answer, str):
            return PlainTextResponse(self.answer, status_code=self.status)
        return JSONResponse(self.answer, status_code=self.status)

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/api/v1/query", self.query, methods=["POST"])])


def vector(*series: tuple[dict[str, str], str]) -> dict[str, Any]:
    result = [{"metric": metric, "value": [1700000000.1, value]} for metric, value in series]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def test_a_vector_becomes_samples_and_what_is_no_number_is_missing() -> None:
    one = {"__name__": "requests", "code": "2xx"}
    fake = Fake(vector((one, "12.5"), (one | {"code": "5xx"}, "NaN"), (one | {"code": "4xx"}, "+Inf")))
    with serving(fake.app) as url:
        assert Prometheus.at(url).read("fraud", ["requests"]) == [Sample("requests", {"code": "2xx"}, 12.5)]
        fake.answer = vector()
        assert Prometheus.at(url).read("fraud", ["requests"]) == []
        assert Prometheus.at(url).read("fraud", []) == []
    assert len(fake.asked) == 2
    assert 'namespace="fraud"' in fake.asked[0]["query"] and fake.asked[0]["timeout"] == "4s"


@pytest.mark.parametrize(
    ("answer", "status", "got"),
    [
        ({"status": "error", "errorType": "bad_data", "error": "parse error"}, 400, "400 bad_data: parse error"),
        ({"status": "error", "errorType": "execution", "error": "too many"}, 422, "422 execution: too many"),
        ({"status": "error", "errorType": "timeout", "error": "query timed out"}, 503, "503"),
        ("<html>Forbidden</html>", 403, "403 without JSON"),
        ("<html>moved</html>", 302, "302 without JSON"),
        ({"status": "error", "errorType": "x", "error": "y"}, 200, "200 x: y"),
        (vector() | {"warnings": ["a store was not reached"]}, 200, "a part of the data: a store was not reached"),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, 200, "got a matrix"),
        ({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}}]}}, 200, "KeyError"),
        (vector(({"__name__": "a"}, "one")), 200, "ValueError"),
        (vector(({}, "1")), 200, "KeyError"),
        ([], 200, "no reason"),
        ("1", 200, "no reason"),
    ],
)
def test_what_is_no_answer_is_unavailable_and_never_a_zero(answer: Any, status: int, got: str) -> None:
    with serving(Fake(answer, status).app) as url, pytest.raises(Unavailable, match="Prometheus does not") as caught:
        Prometheus.at(url).read("fraud", ["requests"])
    assert got in caught.value.got


def test_remarks_on_the_query_are_not_taken_for_missing_data() -> None:
    fake = Fake(vector(({"__name__": "a"}, "1")) | {"warnings": ["PromQL info: metric might not be a counter"]})
    with serving(fake.app) as url:
        assert Prometheus.at(url).read("fraud", ["a"]) == [Sample("a", {}, 1)]


def test_the_token_is_read_again_for_each_call(tmp_path: Path) -> None:
    fake, token = Fake(vector()), tmp_path / "token"
    with serving(fake.app) as url:
        source = Prometheus.at(url, token=token)
        with pytest.raises(Unavailable, match="the token for Prometheus cannot be read"):
            source.read("fraud", ["a"])
        for text in ("one\n", "two"):
            token.write_text(text)
            source.read("fraud", ["a"])
    assert fake.tokens == ["Bearer one", "Bearer two"]


def test_silence_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as quiet:
        quiet.bind(("127.0.0.1", 0))
        quiet.listen()
        began = time.monotonic()
        with pytest.raises(Unavailable, match="does not answer"):
            Prometheus.at(f"http://127.0.0.1:{quiet.getsockname()[1]}").read("fraud", ["a"])
        assert 4.5 < time.monotonic() - began < 9.5
    with pytest.raises(Unavailable, match="does not answer") as caught:
        Prometheus.at(f"http://user:secret@127.0.0.1:{free_port()}").read("fraud", ["a"])
    assert "secret" not in str(caught.value)


# The real one.


class Exporter:
    """What is scraped; `down` answers 500, which makes Prometheus end the series."""

    def __init__(self) -> None:
        self.text, self.down, self.scrapes = TEXT, False, 0

    async def metrics(self, request: Request) -> Response:
        self.scrapes += 1
        return PlainTextResponse(self.text, status_code=500 if self.down else 200)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Exporter]]:
    """A real Prometheus that scrapes a small exporter every 200 ms."""
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed (apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    exporter, port = Exporter(), free_port()
    with serving(Starlette(routes=[Route("/metrics", exporter.metrics)])) as scraped:
        target = f"{{targets: ['{scraped.removeprefix('http://')}'], labels: {{namespace: fraud}}}}"
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
            f"scrape_configs: [{{job_name: gateway, static_configs: [{target}]}}]\n"
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
            )
        url = f"http://127.0.0.1:{port}"
        try:
            eventually(lambda: process.poll() is not None or _ready(url))
            assert process.poll() is None, (folder / "log").read_text()
            yield url, exporter
        finally:
            process.terminate()
            process.wait(timeout=20)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def ours(samples: list[Sample]) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
    """Comparable, without what the scrape adds."""
    added = {"job", "instance", "namespace"}
    return {
        (each.name, tuple(sorted((k, v) for k, v in each.labels.items() if k not in added)), each.value)
        for each in samples
    }


def test_the_real_one_says_what_was_scraped_and_what_a_local_scrape_says(real: tuple[str, Exporter]) -> None:
    url, _ = real
    source = Prometheus.at(url)
    eventually(lambda: source.read("fraud", NAMES))
    found = source.read("fraud", NAMES)
    assert ours(found) == ours(parse(TEXT, NAMES))
    assert len(found) == 4
    assert source.read("other", NAMES) == []
    assert source.read("fraud", ["envoy_hallmark"]) == []
    assert source.read('fr"aud\\', ['no"such\\d']) == []


def test_the_real_one_says_what_is_wrong_with_a_query(real: tuple[str, Exporter]) -> None:
    with pytest.raises(Unavailable) as caught:
        Prometheus.at(real[0]).read("fraud", ["a("])
    assert "400 bad_data" in caught.value.got and "parse error" in caught.value.got


def test_an_old_number_is_not_given_for_a_new_one(real: tuple[str, Exporter]) -> None:
    url, exporter = real
    source = Prometheus.at(url)
    eventually(lambda: source.read("fraud", NAMES))
    exporter.down = True  # the target fails: Prometheus itself ends its series
    eventually(lambda: source.read("fraud", NAMES) == [], seconds=30)
    exporter.down = False
    eventually(lambda: source.read("fraud", NAMES), seconds=30)
    young = Prometheus.at(url, fresh=0.001)  # nothing is scraped within a millisecond: it is all too old
    assert sum(young.read("fraud", NAMES) == [] for _ in range(10)) >= 8
