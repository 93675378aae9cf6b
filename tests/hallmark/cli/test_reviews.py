"""`hallmark reviews` as a person and a script use it, on a SQLite file, and labels that go to a drift monitor's own ring."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hallmark.cli import main
from hallmark.reviews.case import Case, Verdict
from hallmark.reviews.database import connect
from hallmark.reviews.queue import ReviewQueue
from hallmark.settings import Settings
from hallmark.tasks.binary import Binary
from inference_services.drift_monitor import responses
from tests.hallmark.reviews.cases import case
from tests.web import serving

ROOT = Path(__file__).parents[3]
Capsys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path / "state")})
    for key, value in {**settings.environment(), "COLUMNS": "200"}.items():
        monkeypatch.setenv(key, value)
    return settings.state


@pytest.fixture
def queue() -> Iterator[ReviewQueue]:
    with closing(ReviewQueue(connect(Settings.load().reviews), second=0.0)) as made:
        yield made


def cases(folder: Path, *given: Case) -> Path:
    path = folder / "cases.jsonl"
    path.write_text("".join(f"{each.model_dump_json()}\n\n" for each in given))
    return path


def now(name: str, **more: Any) -> Case:
    return case(name, opened=datetime.now(UTC), **more)


def run(*words: str) -> int:
    return main(["reviews", *words])


def told(capsys: Capsys, *words: str) -> Any:
    """What a command that succeeds prints as JSON."""
    capsys.readouterr()
    code = run(*words, "-o", "json")
    shown = capsys.readouterr()
    assert code == 0, shown.err
    return json.loads(shown.out)


def refused(capsys: Capsys, *words: str) -> str:
    """What a command that fails says; never a traceback."""
    capsys.readouterr()
    assert run(*words) != 0
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return " ".join(said.split())


def test_a_case_from_a_file_to_its_history(tmp_path: Path, capsys: Capsys) -> None:
    file = cases(tmp_path, now("belt", price=50.0), now("bag", price=5000.0))
    assert told(capsys, "open", str(file)) == [{"cases": 2, "new": 2}]
    assert told(capsys, "open", str(file)) == [{"cases": 2, "new": 0}]
    waiting = told(capsys, "list")
    assert [(each["case"], each["price"], each["with"]) for each in waiting] == [
        ("bag", 5000.0, ""),
        ("belt", 50.0, ""),
    ]
    (mine,) = told(capsys, "next", "--as", "ana")
    assert (mine["case"], mine["item"]) == ("bag", "item-bag")
    assert told(capsys, "next", "--as", "ana") == [mine], "the one that they have"
    assert [each["with"] for each in told(capsys, "list")] == ["ana", ""]
    said = told(capsys, "verdict", mine["token"], "counterfeit", "--reason", "stitching", "--as", "ana")
    assert said == [{"token": mine["token"], "verdict": "counterfeit", "reason": "stitching"}]
    (back,) = told(capsys, "undo", "--as", "ana")
    assert back["case"] == "bag" and back["token"] != mine["token"]
    assert run("put-back", back["token"]) == 0
    assert run("put-back", back["token"]) == 1
    (other,) = told(capsys, "next", "--as", "ben")
    assert other["case"] == "bag"
    told(capsys, "verdict", other["token"], "cannot tell", "--reason", "photos", "--note", "too dark", "--as", "ben")
    happened = told(capsys, "history", "bag")
    assert [(each["what"], each["who"]) for each in happened] == [
        ("opened", ""),
        ("claimed", "ana"),
        ("verdict", "ana"),
        ("taken back", "ana"),
        ("claimed", "ana"),
        ("put back", "ana"),
        ("claimed", "ben"),
        ("verdict", "ben"),
    ]
    assert "too dark" in happened[-1]["told"]


def test_tables_for_people_say_the_same(tmp_path: Path, capsys: Capsys, queue: ReviewQueue) -> None:
    assert run("list") == 0 and "no case waits" in capsys.readouterr().err
    assert run("next", "--as", "ana") == 0 and "no case waits for you" in capsys.readouterr().err
    assert run("report") == 0
    shown = capsys.readouterr().out
    assert "nobody gave a second opinion yet" in shown and "no audits yet" in shown
    queue.open(now("bag"))
    assert run("next", "--as", "ana") == 0
    shown = capsys.readouterr().out
    claim = queue.held("ana")
    assert claim is not None and claim.token in shown and "item-bag" in shown


@pytest.mark.parametrize("words", [("list",), ("report",), ("next", "--as", "ana"), ("export", "x.json"), ("page",)])
def test_a_mistyped_domain_is_no_empty_queue(capsys: Capsys, queue: ReviewQueue, words: tuple[str, ...]) -> None:
    queue.open(now("bag", domain="handbags"))
    for typed, meant in (("authentification", "authentication"), ("handbag", "handbags")):
        capsys.readouterr()
        assert run(*words, "--domain", typed) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"nobody knows a domain '{typed}'" in said and f"did you mean {meant}?" in said
    assert run(*words, "--domain", "../domains/fraud") == 2
    assert queue.counts()["claimed"] == 0


def test_a_domain_without_cases_has_an_empty_queue_and_one_of_another_checkout_its_own(
    capsys: Capsys, queue: ReviewQueue
) -> None:
    queue.open(now("bag", domain="handbags"))
    assert told(capsys, "list", "--domain", "authentication") == []
    assert told(capsys, "report", "--domain", "authentication")[0]["open"] == 0
    assert [each["case"] for each in told(capsys, "list", "--domain", "handbags")] == ["bag"]


def test_the_report_of_two_who_differ(capsys: Capsys) -> None:
    with closing(ReviewQueue(connect(Settings.load().reviews), second=1.0, undo=0.0)) as queue:
        for number in range(3):
            queue.open(now(f"c{number}", source="audit" if number == 2 else "decision", price=100.0 - number))
        for who, word in (("ana", "authentic"), ("ben", "counterfeit")):
            for number in range(3):
                claim = queue.claim(who)
                assert claim is not None
                said = "counterfeit" if number == 0 else word
                queue.give(claim.token, Verdict.model_validate({"word": said, "reason": "logo"}), who=who)
    (found,) = told(capsys, "report")
    assert (found["judged"], found["agreement"]["pairs"], found["disputed"]) == (6, 3, ["c2", "c1"])
    assert (found["audits"]["count"], found["audits"]["of"]) == (0, 1)
    assert run("report", "--domain", "authentication") == 0
    shown = capsys.readouterr()
    assert "33% of 3 pairs agree" in shown.out and "0 of 1: 0.0%" in shown.out and "1 of 3" in shown.out
    assert "two people differ on c2, c1" in " ".join(shown.err.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("history", "nothing"), ["no case nothing"]),
        (("verdict", "gone", "authentic", "--as", "ana"), ["claim has ended", "not known", "claim the next case"]),
        (("verdict", "gone", "fake", "--as", "ana"), ["verdict", "authentic", "counterfeit", "fake"]),
        (("verdict", "gone", "counterfeit", "--as", "ana"), ["a reason with counterfeit", "stitching"]),
        (("verdict", "gone", "counterfeit", "--reason", "smell"), ["reason", "stitching", "smell"]),
        (("put-back", "gone"), ["nobody has a case under this token", "not known", "hallmark reviews list"]),
        (("undo", "--as", "ana"), ["no verdict to take back"]),
        (("next", "--as", " "), ["nobody is named"]),
        (("open", "nowhere.jsonl"), ["no file nowhere.jsonl"]),
        (("export", "x.json", "--format", "csv"), ["--format is neither", "label-studio or labels", "csv"]),
        (("export", "x.json"), ["nothing to write yet", "verdicts that are final"]),
        (("send", "listing"), ["no labels of listing", "a binary task"]),
        (("page", "--shared", "--as", "ana"), ["--as and --shared do not go together"]),
    ],
)
def test_what_cannot_be_done_is_told_in_words(capsys: Capsys, words: tuple[str, ...], said: list[str]) -> None:
    complaint = refused(capsys, *words)
    assert [each for each in said if each not in complaint] == [], complaint


def test_on_a_cluster_the_page_waits_for_its_queue_and_elsewhere_it_does_not_begin(
    capsys: Capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HALLMARK_REVIEWS", f"sqlite:///{tmp_path}/none/queue.db")
    (tmp_path / "none").write_text("a file where a folder would be")
    served: list[Starlette] = []
    monkeypatch.setattr("hallmark.cli.ui.serve", lambda made, **_: served.append(made(lambda: False)))
    assert "does not answer" in refused(capsys, "page")
    assert not served
    assert run("page", "--shared", "--domain", "authentication", "--prefix", "/reviews/authentication") == 0
    gateway = {"kubeflow-userid": "ana", "x-hallmark-domains": "authentication"}
    with serving(served[0]) as address:
        assert httpx.get(f"{address}/healthz", trust_env=False).status_code == 200
        told = httpx.get(f"{address}/reviews/authentication/", headers=gateway, trust_env=False)
    assert told.status_code == 503 and "does not answer" in told.text


def test_lines_that_are_no_cases_are_named_and_none_is_opened(
    capsys: Capsys, monkeypatch: pytest.MonkeyPatch, queue: ReviewQueue
) -> None:
    good = now("a").model_dump_json()
    for bad, said in (
        ("{", "line 2: {"),
        ('{"id": "b"}', "stdin:2"),
        (good.replace('"price":500.0', '"price":-1'), "price"),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{good}\n{bad}\n"))
        assert said in refused(capsys, "open", "-")
        assert queue.counts()["open"] == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(good))
    assert told(capsys, "open", "-") == [{"cases": 1, "new": 1}]
    monkeypatch.setattr("sys.stdin", io.StringIO(good.replace("item-a", "item-b")))
    assert "says something else" in refused(capsys, "open", "-")


def test_a_file_of_another_encoding_is_told_in_words(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, queue: ReviewQueue
) -> None:
    line = now("a", item="Stoßband").model_dump_json()
    file = tmp_path / "cases.jsonl"
    for encoding, byte in (("latin-1", "byte 0xdf"), ("utf-16", "byte 0xff at 0")):
        file.write_bytes(line.encode(encoding))
        assert run("open", str(file)) == 2
        said = capsys.readouterr().err
        assert "cases.jsonl is no text" in said and byte in said
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(line.encode("latin-1")), encoding="utf-8"))
    assert run("open", "-") == 2
    assert "stdin is no text" in capsys.readouterr().err and queue.counts()["open"] == 0
    file.write_text(line, encoding="utf-8")
    assert told(capsys, "open", str(file)) == [{"cases": 1, "new": 1}]


def judged(queue: ReviewQueue, *given: Case) -> None:
    """All of them counterfeits, by one person; the last is final too, since they go on to a case that they cannot tell."""
    for each in (*given, now("after", price=0.01)):
        queue.open(each)
    while claim := queue.claim("ana"):
        word = "cannot tell" if claim.case.id == "after" else "counterfeit"
        queue.give(claim.token, Verdict.model_validate({"word": word, "reason": "other"}), who="ana")


def test_exports_for_training_and_for_label_studio(tmp_path: Path, capsys: Capsys, queue: ReviewQueue) -> None:
    judged(queue, now("a"), now("b", price=9.0, source="audit", inclusion=0.02, request="r-1", row=3))
    assert run("export", str(tmp_path / "labels.jsonl")) == 0
    assert "2 labels" in capsys.readouterr().err
    rows = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert [(each["request"], each["label"], each["weight"], each.get("row")) for each in rows] == [
        ("a", 1, 1.0, None),
        ("r-1", 1, 50.0, 3),
    ]
    assert (
        run("export", str(tmp_path / "tasks.json"), "--format", "label-studio", "--photos-at", "https://p.example/")
        == 0
    )
    assert '<Image name="photos"' in capsys.readouterr().err
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [each["data"]["id"] for each in tasks] == ["a", "b"], "the third may still be taken back"
    assert "nothing to write" in refused(capsys, "export", str(tmp_path / "none.jsonl"), "--domain", "listing")
    assert not (tmp_path / "none.jsonl").exists()


class Cluster:
    """An API server with one pod, whose drift monitor's ring has answered `requests`."""

    send: tuple[str, ...]
    """What sends labels there."""

    def __init__(self) -> None:
        self.ring = responses.CapturedResponses()
        self.got: list[responses.SentLabel] = []
        self.wrong: list[str] = []

    def answered(self, *requests: str) -> None:
        for request in requests:
            hashed = hashlib.sha256(request.encode()).hexdigest()[:32]
            score = {"score": np.array([0.5])}
            self.ring.add("v1", columns={}, outputs=score, records=1, at=1.0, request=hashed, exchange=request)

    async def pods(self, request: Request) -> Response:
        return JSONResponse({"items": [{"metadata": {"name": "p", "namespace": request.path_params["name"]}}]})

    async def labels(self, request: Request) -> Response:
        found, wrong = responses.known(json.loads(await request.body()), Binary())
        self.got += found
        joined, unknown = self.ring.label(found)
        return JSONResponse({"joined": joined, "unknown": unknown, "errors": wrong + self.wrong})

    @property
    def app(self) -> Starlette:
        base = "/api/v1/namespaces/{name}/pods"
        return Starlette(
            routes=[Route(base, self.pods), Route(f"{base}/p:9191/proxy/labels", self.labels, methods=["POST"])]
        )

    @property
    def joined(self) -> dict[str, Any]:
        rows = self.ring.after(0, limit=100, variant="v1")[0]
        return {each.exchange: each.label for each in rows if each.label is not None}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr("hallmark.rollout.label_sender._ON_THE_WAY", 0.0)
    found = Cluster()
    with serving(found.app) as url:
        context = {"name": "c", "context": {"cluster": "here", "user": "me"}}
        whole = {"current-context": "c", "users": [{"name": "me", "user": {}}], "contexts": [context]}
        whole |= {"clusters": [{"name": "here", "cluster": {"server": url}}]}
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **whole}))
        found.send = ("send", "authentication", "--kubeconfig", str(tmp_path / "kubeconfig"))
        yield found


def test_labels_that_met_their_answers_are_sent_once(cluster: Cluster, capsys: Capsys, queue: ReviewQueue) -> None:
    judged(queue, now("a", request="r-1"), now("b", price=9.0))
    cluster.answered("r-1", "b")
    assert told(capsys, *cluster.send) == [{"labels": 2, "joined": 2, "unknown": 0}]
    assert cluster.joined == {"r-1": 1, "b": 1}
    (report,) = told(capsys, "report")
    assert report["unsent"] == 0
    assert run(*cluster.send, "-o", "json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == [] and len(cluster.got) == 2


def test_a_label_whose_answer_is_gone_stays_for_training(
    cluster: Cluster, tmp_path: Path, capsys: Capsys, queue: ReviewQueue
) -> None:
    judged(queue, now("a"), now("gone", price=9.0, source="audit", inclusion=0.02))
    cluster.answered("a")
    assert run(*cluster.send, "-o", "json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == [{"labels": 2, "joined": 1, "unknown": 1}]
    said = " ".join(shown.err.split())
    assert "1 met no answer that a drift monitor still keeps" in said and "hallmark reviews export" in said
    assert told(capsys, "report")[0]["unsent"] == 0, "a monitor never gets back an answer that it let go"
    assert run("export", str(tmp_path / "labels.jsonl")) == 0
    rows = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert [(each["request"], each["label"], each["weight"]) for each in rows] == [("a", 1, 1.0), ("gone", 1, 50.0)]


def test_where_none_met_an_answer_all_are_sent_again(cluster: Cluster, capsys: Capsys, queue: ReviewQueue) -> None:
    """Most likely this is another cluster than the one that answered."""
    judged(queue, now("a"))
    assert run(*cluster.send, "-o", "json") == 0
    assert "sent again next time" in " ".join(capsys.readouterr().err.split())
    assert told(capsys, "report")[0]["unsent"] == 1
    cluster.answered("a")
    assert told(capsys, *cluster.send) == [{"labels": 1, "joined": 1, "unknown": 0}]
    assert told(capsys, "report")[0]["unsent"] == 0 and cluster.joined == {"a": 1}


def test_refused_labels_are_told_and_stay(cluster: Cluster, capsys: Capsys, queue: ReviewQueue) -> None:
    judged(queue, now("a"))
    cluster.answered("a")
    cluster.wrong = ["expected label: 1 or 0"]
    assert run(*cluster.send, "-o", "json") == 0
    assert "some were refused, and are sent again next time: expected label: 1 or 0" in " ".join(
        capsys.readouterr().err.split()
    )
    assert told(capsys, "report")[0]["unsent"] == 1


def test_photos_that_nobody_needs_are_deleted_once_that_is_wanted(
    tmp_path: Path, capsys: Capsys, queue: ReviewQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    names = {word: hashlib.sha256(word.encode()).hexdigest() for word in ("open", "nobody's")}
    for word, name in names.items():
        (folder / name).write_bytes(word.encode())
        os.utime(folder / name, (0, 0))
    queue.open(now("bag", evidence={"photos": [{"digest": f"sha256:{names['open']}"}]}))
    stays = {"bytes": 8, "stays": 1, "bytes_that_stay": 4, "not_ours": 0}
    assert told(capsys, "gc", "--photos", str(folder), "--dry-run") == [{"goes": 1, **stays}]
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert "nothing was removed" in refused(capsys, "gc", "--photos", str(folder))
    assert len(list(folder.iterdir())) == 2
    assert told(capsys, "gc", "--photos", str(folder), "--yes") == [{"went": 1, **stays}]
    assert [each.name for each in folder.iterdir()] == [names["open"]]
    assert "at least 1" in refused(capsys, "gc", "--photos", str(folder), "--days", "0", "--yes")
    assert "expected: a folder" in refused(capsys, "gc", "--photos", str(tmp_path / "none"))
