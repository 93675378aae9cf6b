"""`hallmark labels`: what a file may say, and that every refusal is told in words, the file's and the drift monitor's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hallmark.cli import main
from hallmark.settings import Settings
from hallmark.tasks.binary import Binary
from inference_services.drift_monitor import responses
from tests.web import serving

ROOT = Path(__file__).parents[3]
AT = "2026-11-29T08:00:00"


class Cluster:
    """An API server with one pod a domain, whose drift monitor reads labels as the real one does and knows r1 alone.

    late: of what it is asked first, it knows nothing yet.
    """

    def __init__(self) -> None:
        self.got: list[responses.SentLabel] = []
        self.late = False

    async def pods(self, request: Request) -> Response:
        return JSONResponse({"items": [{"metadata": {"name": "p", "namespace": request.path_params["name"]}}]})

    async def labels(self, request: Request) -> Response:
        found, wrong = responses.known(json.loads(await request.body()), Binary())
        self.got += found
        joined = 0 if self.late else sum(each.request == "r1" for each in found)
        self.late = False
        told = {"joined": joined, "unknown": len(found) - joined, "malformed": len(wrong), "errors": wrong[:5]}
        return JSONResponse(told, status_code=400 if wrong and not found else 200)

    @property
    def app(self) -> Starlette:
        base = "/api/v1/namespaces/{name}/pods"
        return Starlette(
            routes=[Route(base, self.pods), Route(f"{base}/p:9191/proxy/labels", self.labels, methods=["POST"])]
        )


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    found = Cluster()
    with serving(found.app) as url:
        context = {"name": "c", "context": {"cluster": "here", "user": "me"}}
        whole = {"current-context": "c", "users": [{"name": "me", "user": {}}], "contexts": [context]}
        whole |= {"clusters": [{"name": "here", "cluster": {"server": url}}]}
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **whole}))
        settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path / "state")})
        for key, value in {**settings.environment(), "COLUMNS": "200"}.items():
            monkeypatch.setenv(key, value)
        yield found


def run(folder: Path, file: Path, name: str = "fraud") -> int:
    return main(["labels", name, str(file), "--kubeconfig", str(folder / "kubeconfig"), "-o", "json"])


def csv(folder: Path, *rows: str, head: str = "request,label,at") -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def test_labels_of_every_form_of_file_arrive_as_they_are_meant(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meant = {("r1", 1), ("007", 0)}
    files = [csv(tmp_path, f"r1,1,{AT}Z", "007,0.0,")]
    files += [tmp_path / "labels.parquet", tmp_path / "labels.jsonl"]
    at = [datetime.fromisoformat(f"{AT}+01:00"), None]
    pd.DataFrame({"request": ["r1", "007"], "label": [1, 0], "at": at}).to_parquet(files[1])
    files[2].write_text('{"request": "r1", "label": 1}\n{"request": "007", "label": 0}\n')
    for file in files:
        cluster.got.clear()
        assert run(tmp_path, file) == 0, capsys.readouterr().err
        assert {(each.request, each.label) for each in cluster.got} == meant, file
        (row,) = json.loads(capsys.readouterr().out)
        assert row == {"labels": 2, "joined": 1, "unknown": 1}
    run(tmp_path, files[1])
    (known,) = [each.at for each in cluster.got if each.request == "r1"][-1:]
    assert known == at[0].timestamp()  # type: ignore[union-attr]


def test_a_label_may_be_sent_before_its_answer_has_come_to_the_monitor(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.late = True
    assert run(tmp_path, csv(tmp_path, f"r1,1,{AT}Z")) == 0
    assert json.loads(capsys.readouterr().out) == [{"labels": 1, "joined": 1, "unknown": 0}]
    assert len({(each.request, each.at) for each in cluster.got}) == 1, "the same label, at the same time"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (f"r2,1,{AT}", ["column at", "a time with its zone", AT]),
        ("r2,1,yesterday", ["column at", "a time with its zone", "'yesterday'"]),
        (f"r2,maybe,{AT}Z", ["binary", "1 or 0", "'maybe' in row 2"]),
        (f"r2,2,{AT}Z", ["expected: 1 or 0", "'2' in row 2"]),
        (f"r2,,{AT}Z", ["column label", "filled", "in 1 row"]),
        (f",1,{AT}Z", ["column request", "filled"]),
        (f'" ",1,{AT}Z', ["column request", "text that is not empty"]),
    ],
)
def test_a_row_that_is_no_label_is_named_and_nothing_is_sent(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str, said: list[str]
) -> None:
    assert run(tmp_path, csv(tmp_path, f"r1,1,{AT}Z", row)) == 2
    told = capsys.readouterr().err
    assert all(word in told for word in said) and "np." not in told and "labels.csv" in told, told
    assert not cluster.got


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"at": [datetime.fromisoformat(AT)]}, ["column at", "a time with its zone", "2026-11-29 08:00:00"]),
        ({"row": [1.5]}, ["column row", "a whole number", "1.5"]),
        ({"request": [7.0]}, ["column request", "text", "7.0"]),
        ({"label": ["yes"]}, ["1 or 0", "'yes' in row 1"]),
    ],
)
def test_b29_what_another_program_wrote_is_refused_by_name_before_it_is_sent(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: dict[str, object], said: list[str]
) -> None:
    frame = pd.DataFrame({"request": ["r1"], "label": [1]} | columns)
    frame.to_parquet(tmp_path / "labels.parquet")
    assert run(tmp_path, tmp_path / "labels.parquet") in (2, 3)
    told = capsys.readouterr().err
    assert all(word in told for word in said) and "np." not in told, told
    assert not cluster.got


def test_b29_ids_are_sent_as_they_are_written(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.DataFrame({"request": [2**53 + 1], "label": [True]}).to_parquet(tmp_path / "labels.parquet")
    run(tmp_path, tmp_path / "labels.parquet")
    run(tmp_path, csv(tmp_path, f"v1.0,true,{AT}Z"))
    assert {(each.request, each.label) for each in cluster.got} == {(str(2**53 + 1), 1), ("v1.0", 1)}


@pytest.mark.parametrize(
    ("head", "rows", "said"),
    [("request,at", [f"r1,{AT}Z"], "expected: a column label\n"), ("request,label", [], "no rows")],
)
def test_a_file_without_a_column_or_a_row_is_refused(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], head: str, rows: list[str], said: str
) -> None:
    assert run(tmp_path, csv(tmp_path, *rows, head=head)) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_none_is_told(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, tmp_path / "none.csv") == 1
    assert "there is no file" in capsys.readouterr().err
    (tmp_path / "broken.jsonl").write_text("{")
    assert run(tmp_path, tmp_path / "broken.jsonl") == 3
    assert "a JSON object a line" in capsys.readouterr().err


def test_what_the_monitor_refuses_is_told_in_its_words(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    word = "expected label: words of at most 64 characters, at most 100 in a list"
    assert run(tmp_path, csv(tmp_path, f"r1,sofa,{AT}Z", f"r2,{'x' * 500},{AT}Z"), "listing") == 0
    told = capsys.readouterr()
    assert f"some were refused: {word}" in told.err
    assert json.loads(told.out) == [{"labels": 2, "joined": 1, "unknown": 1}]
    assert run(tmp_path, csv(tmp_path, f"r2,{'x' * 500},{AT}Z"), "listing") == 1
    assert word in capsys.readouterr().err
