"""What MLflow refuses is told as what it is, with the fix, and before a training where that can be known (case B19)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hallmark.artifacts.model_card import ModelCard
from hallmark.cli import main
from hallmark.errors import Refused, Unavailable
from hallmark.registry import refusals
from hallmark.registry.store import Registry
from hallmark.settings import Settings
from tests.web import serving

Make = Callable[[str], tuple[Path, ModelCard]]
ROOT = Path(__file__).parents[3]


def test_b19_a_deleted_experiment_is_named_with_how_to_restore_it(settings: Settings, make: Make) -> None:
    registry = Registry(settings)
    registry.check("toy")
    registry.register(*make("one"))
    registry.check("toy")
    client = registry._client()
    experiment = client.get_experiment_by_name("toy").experiment_id
    client.delete_experiment(experiment)
    folder, model_card = make("two")
    for attempt in (lambda: registry.check("toy"), lambda: registry.register(folder, model_card)):
        with pytest.raises(Refused, match="the experiment toy of MLflow is deleted") as caught:
            attempt()
        assert f"restore --experiment-id {experiment}" in caught.value.fix
    assert [row.version for row in registry.versions("toy")] == [1]
    client.restore_experiment(experiment)
    registry.check("toy")
    assert registry.register(folder, model_card) == 2


@pytest.mark.slow
def test_b19_a_training_is_refused_before_it_begins(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(settings.state / "mlflow.db") as link:
        sql = "INSERT INTO experiments (experiment_id, name, lifecycle_stage, workspace) VALUES (9, 'fraud', 'deleted', 'default')"
        link.execute(sql)
    link.close()
    for key, value in settings.model_copy(update={"root": ROOT}).environment().items():
        monkeypatch.setenv(key, value)
    assert main(["train", "fraud", "--until", "2026-09-01"]) == 3
    told = capsys.readouterr().err
    assert "the experiment fraud of MLflow is deleted" in told and "load" not in told
    assert not list(settings.runs.glob("**/*.parquet"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (sqlite3.OperationalError("attempt to write a readonly database"), "cannot be written"),
        (sqlite3.OperationalError("database or disk is full"), "has no space left"),
        (sqlite3.OperationalError("database is locked"), None),
        (ConnectionRefusedError("Connection refused"), None),
    ],
)
def test_b19_what_a_database_refuses_is_told_apart_from_one_that_is_locked(error: Exception, said: str | None) -> None:
    found = refusals.of(error, "MLflow")
    assert (found is None) if said is None else (found is not None and said in found.message)


class Server:
    """A tracking server that answers every call with one refusal."""

    def __init__(self) -> None:
        self.status, self.body = 403, {"error_code": "PERMISSION_DENIED", "message": "no EDIT on toy"}

    async def health(self, request: Request) -> Response:
        return Response("OK")

    async def api(self, request: Request) -> Response:
        return JSONResponse(self.body, status_code=self.status)

    @property
    def app(self) -> Starlette:
        any_path = Route("/{path:path}", self.api, methods=["GET", "POST", "PATCH", "PUT", "DELETE"])
        return Starlette(routes=[Route("/health", self.health), any_path])


@pytest.fixture
def server(settings: Settings) -> Iterator[tuple[Server, Registry]]:
    found = Server()
    with serving(found.app) as url:
        yield found, Registry(settings.model_copy(update={"tracking": url}))


@pytest.mark.parametrize(
    ("status", "code", "said", "fix"),
    [
        (403, "PERMISSION_DENIED", "does not let this account do that", "EDIT"),
        (401, "UNAUTHENTICATED", "does not know this account", "MLFLOW_TRACKING_USERNAME"),
        (429, "RESOURCE_EXHAUSTED", "takes no more from this account", "limit raised"),
        (400, "INVALID_STATE", "refuses this", "mend that in MLflow"),
    ],
)
def test_b19_each_refusal_of_a_server_is_told_with_its_fix(
    server: tuple[Server, Registry], make: Make, status: int, code: str, said: str, fix: str
) -> None:
    there, registry = server
    there.status, there.body = status, {"error_code": code, "message": "as the server says"}
    folder, model_card = make("one")
    for attempt in (
        lambda: registry.check("toy"),
        lambda: registry.register(folder, model_card),
        lambda: registry.versions("toy"),
        lambda: registry.resolve("toy", "champion"),
    ):
        with pytest.raises(Refused, match=said) as caught:
            attempt()
        # of a 429 the HTTP library keeps the number alone
        assert ("as the server says" in caught.value.got or status == 429) and fix in caught.value.fix


def test_b19_a_server_that_fails_is_still_unavailable(server: tuple[Server, Registry]) -> None:
    there, registry = server
    there.status, there.body = 500, {"error_code": "INTERNAL_ERROR", "message": "broken"}
    with pytest.raises(Unavailable, match="does not answer"):
        registry.versions("toy")
