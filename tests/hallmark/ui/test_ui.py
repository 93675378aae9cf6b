"""`hallmark ui`: what its pages tell, to whom, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from hallmark.cli.ui import listening
from hallmark.declaration import domain as declared
from hallmark.errors import HallmarkError, Refused
from hallmark.registry.store import Registry
from hallmark.rollout.history import Act, History
from hallmark.settings import Settings
from hallmark.ui.app import app
from hallmark.ui.gather import Gatherer, links
from hallmark.ui.guard import DOMAINS_HEADER
from hallmark.ui.snapshot import Snapshot
from tests.hallmark.rollout.tiny import Cluster
from tests.hallmark.ui.conftest import HOSTILE, copied, filled, no_cluster

HERE = "http://127.0.0.1:8421"


class Site:
    """The application asked without a socket."""

    def __init__(self, gatherer: Gatherer, **given: Any) -> None:
        self._transport = httpx.ASGITransport(app(gatherer, **given))

    def request(self, method: str, path: str, headers: Any = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url=HERE) as client:
                return await client.request(method, path, headers=headers)

        return asyncio.run(ask())

    def get(self, path: str, headers: Any = None) -> httpx.Response:
        return self.request("GET", path, headers)


def eventually(look: Callable[[], Snapshot], holds: Callable[[Snapshot], bool]) -> Snapshot:
    until = time.monotonic() + 30
    while not holds(found := look()):
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return found


def test_the_first_page_has_every_domain_what_is_stable_and_what_happened_without_a_cluster(gatherer: Gatherer) -> None:
    eventually(gatherer.snapshot, lambda found: not found.asking)
    page = Site(gatherer).get("/").text
    for name in declared.names(gatherer.settings):
        assert f'href="/domain/{name}"' in page
    assert "version 3</b> by release.yaml" in page and "version 4</b>, 10 %" in page
    assert "No cluster answers (there is no cluster to talk to" in page
    assert "is done; by ana@example.test from laptop" in page


def test_nothing_from_outside_is_markup(gatherer: Gatherer) -> None:
    eventually(gatherer.snapshot, lambda found: not found.asking)
    site = Site(gatherer)
    for path in (
        "/",
        "/domain/fraud",
        "/timeline?domain=fraud",
        f"/timeline?domain={HOSTILE}",
        f"/compare?domain=fraud&a={HOSTILE}&b=1",
    ):
        page = site.get(path).text
        assert HOSTILE not in page, path
        assert "&lt;script&gt;alert(1)" in page, path


def test_a_page_may_run_its_own_script_alone_and_is_shown_in_no_frame(gatherer: Gatherer) -> None:
    site = Site(gatherer)
    for path in ("/", "/nowhere", "/live.js", "/healthz"):
        policy = site.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy.replace("style-src 'unsafe-inline'", "")
    assert '<script src="/live.js" defer></script>' in site.get("/").text
    assert site.get("/").text.count("<script") == 1


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8421", "127.0.0.1.evil.example", "10.0.0.7", ""])
def test_a_name_that_is_pointed_at_this_machine_is_refused(gatherer: Gatherer, host: str) -> None:
    answer = Site(gatherer).get("/", headers={"host": host})
    assert answer.status_code == 400 and "fraud" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:8421", "localhost:8421", "localhost"])
def test_this_machine_by_its_names_is_answered(gatherer: Gatherer, host: str) -> None:
    assert Site(gatherer).get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_is_to_be_read_only(gatherer: Gatherer, method: str) -> None:
    site = Site(gatherer)
    for path in ("/", "/domain/fraud", "/compare", "/events"):
        assert site.request(method, path).status_code == 405


def test_on_a_cluster_a_member_sees_their_own_domains_and_nobody_else_anything(gatherer: Gatherer) -> None:
    site = Site(gatherer, shared=True, prefix="/ui")
    mine = {DOMAINS_HEADER: "fraud, search"}
    page = site.get("/ui/", headers=mine).text
    others = [name for name in declared.names(gatherer.settings) if name not in ("fraud", "search")]
    assert 'href="/ui/domain/fraud"' in page and 'href="/ui/domain/search"' in page
    assert others and not any(name in page for name in others)
    unknown = site.get("/ui/domain/nobodys", headers=mine)
    for path in ("/ui/domain/{}", "/ui/timeline?domain={}", "/ui/compare?domain={}&a=1&b=2"):
        for name in others:
            answer = site.get(path.format(name), headers=mine)
            assert answer.status_code == 404
            assert answer.text.replace(name, "nobodys") == unknown.text, "whether it is there is not told either"
    for headers in ({}, {DOMAINS_HEADER: ""}, {DOMAINS_HEADER: " "}):
        for path in (
            "/ui/",
            "/ui/domain/fraud",
            "/ui/timeline?domain=fraud",
            "/ui/compare?domain=fraud&a=1&b=2",
            "/ui/events",
        ):
            answer = site.get(path, headers=headers)
            assert answer.status_code == 403 and "ana@" not in answer.text
    twice = [(DOMAINS_HEADER, "fraud"), (DOMAINS_HEADER, "search")]
    assert site.get("/ui/", headers=twice).status_code == 403  # type: ignore[arg-type]
    assert site.get("/healthz").text == "ok"


def test_a_members_mark_tells_nothing_of_other_domains(gatherer: Gatherer) -> None:
    eventually(gatherer.snapshot, lambda found: not found.asking and all(each.cost.value for each in found.domains))
    before = gatherer.snapshot()
    with History(gatherer.settings, "search").act("labels", "two labels"):
        pass
    after = eventually(gatherer.snapshot, lambda found: found.mark() != before.mark())
    assert after.seen_by({"fraud"}).mark() == before.seen_by({"fraud"}).mark()
    assert after.mark("search") != before.mark("search") and after.mark("fraud") == before.mark("fraud")


def test_a_part_that_fails_says_why_and_takes_no_other_with_it(tmp_path: Path) -> None:
    settings = copied(tmp_path)
    (settings.domains / "search" / "domain.yaml").write_text("name: search\nowner: nobody\n")
    (settings.releases / "fraud").mkdir()
    (settings.releases / "fraud" / "release.yaml").write_text("stable: [")
    settings.state.mkdir()
    (settings.state / "mlflow.db").write_text("this is no database " * 100)
    found = Gatherer(settings, connect=no_cluster).snapshot()  # type: ignore[arg-type]
    search, fraud = found.domain("search"), found.domain("fraud")
    assert search is not None and fraud is not None
    assert search.declared.failed and not search.entries.failed
    assert "is not YAML" in fraud.released.failed and fraud.declared.value is not None
    assert fraud.versions.failed and fraud.trials.failed
    page = Site(Gatherer(settings, connect=no_cluster)).get("/")  # type: ignore[arg-type]
    assert page.status_code == 200 and "release.yaml: " in page.text


class Live(Cluster):
    host = "https://cluster.example"

    def all(self) -> list[object]:
        return [self.live(self.name)]


def test_what_is_live_is_told_with_shares_pods_and_history(settings: Settings) -> None:
    cluster = Live()
    gatherer = Gatherer(settings, connect=lambda: cluster)  # type: ignore[arg-type, return-value]
    found = eventually(gatherer.snapshot, lambda each: not each.asking)
    assert found.cluster.value == cluster.host
    domain = found.domain(cluster.name)
    assert domain is not None and not domain.live.failed
    (stable,) = domain.live.value
    assert (stable.variant, stable.percent, stable.ready, stable.pods) == ("stable", 100, 1, 1)
    assert "<dt>stable</dt><dd>100 % of the traffic" in Site(gatherer).get("/").text
    others = [each for each in found.domains if each.name != cluster.name]
    assert others and not any(each.live.value or each.live.failed for each in others)


class Members(Live):
    """One whose account may read a single namespace."""

    allowed = True

    def all(self) -> list[object]:
        raise Refused("the cluster refused it", got="Forbidden")

    def live(self, name: str) -> dict[str, Any] | None:
        if not self.allowed or name != self.name:
            raise Refused("the cluster refused it", got="Forbidden")
        return super().live(name)


def test_an_account_of_one_namespace_sees_what_is_live_there(settings: Settings) -> None:
    cluster = Members(name="fraud")
    found = eventually(
        Gatherer(settings, connect=lambda: cluster).snapshot,  # type: ignore[arg-type, return-value]
        lambda each: not each.asking,
    )
    assert found.cluster.value == cluster.host
    assert [each.name for each in found.domains if each.live.value] == [cluster.name]
    nobodys = Members(name="fraud")
    nobodys.allowed = False
    told = eventually(
        Gatherer(settings, connect=lambda: nobodys).snapshot,  # type: ignore[arg-type, return-value]
        lambda each: not each.asking,
    )
    assert told.cluster.failed == "the cluster refused it: Forbidden"


def test_what_has_not_changed_is_not_read_again(gatherer: Gatherer, monkeypatch: pytest.MonkeyPatch) -> None:
    gatherer.snapshot()
    read: list[str] = []
    whole = History.lines

    def lines(self: History, newest: int | None = None) -> list[Act]:
        read.append(self.path.stem)
        return whole(self, newest)

    monkeypatch.setattr(History, "lines", lines)
    monkeypatch.setattr("hallmark.ui.gather.FRESH", 0.0)
    gatherer.snapshot()
    assert not read
    with History(gatherer.settings, "fraud").act("labels", "three labels"):
        pass
    found = gatherer.snapshot().domain("fraud")
    assert read == ["fraud"] and found is not None and found.entries.value[-1].text == "three labels"


def test_links_lead_to_web_pages_alone_and_carry_no_secret(settings: Settings) -> None:
    given = {"HALLMARK_GRAFANA": "https://ana:secret@grafana.example/d", "HALLMARK_KUBEFLOW": "javascript:alert(1)"}
    assert [(each.name, each.address) for each in links(settings, given)] == [("Grafana", "https://grafana.example/d")]
    assert [each.address for each in links(settings, {}, shared=True)] == ["/mlflow/", "/pipeline/", "/grafana/"]


@pytest.mark.slow
def test_two_trainings_of_a_domain_can_be_chosen_and_what_is_not_there_is_said(
    settings: Settings, empty_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.hallmark.registry.test_comparison import trial

    settings.prepared()
    shutil.copyfile(empty_registry, settings.state / "mlflow.db")
    logged = trial(0.5, experiment="", passed=False).model_copy(update={"domain": "fraud"})
    run = Registry(settings).log(logged)
    site = Site(Gatherer(settings, connect=no_cluster))  # type: ignore[arg-type]
    page = site.get("/domain/fraud").text
    assert f'name="a" id="a-{run}"' in page and f'name="b" id="b-{run}"' in page
    assert "it is too bad" in page and "it is too bad" in site.get("/").text
    answer = site.get(f"/compare?domain=fraud&a={run}&b={run[:8]}")
    assert answer.status_code == 200 and "on the same test examples" in answer.text.lower()
    absent = site.get("/compare?domain=fraud&a=7&b=8")
    assert absent.status_code == 404 and "expected" in absent.text
    assert site.get("/compare?domain=fraud&a=1").status_code == 404


def test_the_mark_on_a_page_is_the_one_that_the_stream_tells(gatherer: Gatherer) -> None:
    eventually(gatherer.snapshot, lambda found: not found.asking and all(each.cost.value for each in found.domains))
    ended = [False]
    site = Site(gatherer, ending=lambda: ended[0])
    page = site.get("/domain/fraud").text
    threading.Timer(1.5, lambda: ended.__setitem__(0, True)).start()
    told = site.get("/events?domain=fraud").text
    assert told.startswith("retry: 2000\n\nevent: mark\ndata: ")
    assert f'data-mark="{told.split("data: ")[1].split()[0]}"' in page
    assert 'data-events="/events?domain=fraud"' in page


def test_the_answer_holds_the_newest_of_a_long_history(settings: Settings) -> None:
    filled(settings)
    found = Gatherer(settings, connect=no_cluster).snapshot().domain("fraud")  # type: ignore[arg-type]
    assert found is not None
    assert len(found.entries.value) == 200
    assert [each.version for each in found.entries.value] == list(range(515, 715))
    assert json.loads(found.model_dump_json())["name"] == "fraud"


def test_a_port_that_is_taken_is_said_with_the_way_out() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with (
            pytest.raises(HallmarkError, match="cannot be had") as caught,
            listening("127.0.0.1", other.getsockname()[1]),
        ):
            pass
    assert "--port 0" in caught.value.fix
