"""The local API judges as the real one does: 139 variants of one InferenceService, both ways; one declaration of the rules with lint."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_cluster import api, predictor
from local_cluster.admission import Admission, shown
from local_cluster.store import Missing, ObjectStore
from tests import admission
from tests.admission import Case

TOKEN = "t" * 40
GROUP = "/apis/serving.kserve.io"
ELSEWHERE = {
    "uri-https-zip": "the local cluster serves pvc:// only, and says so",
    "uri-relative": "the local cluster serves pvc:// only, and says so",
    "uri-pvc": "the local cluster has one claim, whose folder is looked into when the pod starts",
}
"""Never ready for a reason that this cluster finds where it mounts the model."""


class NoPods:
    """Pods of a cluster that runs none."""

    def address(self, namespace: str, pod: str, port: int) -> tuple[str, int] | None:
        return None

    def log(self, namespace: str, pod: str, container: str, tail_lines: int | None = None) -> bytes:
        raise Missing("there is no pod")


class Asked:
    """A client of an API with the serving runtime in its store."""

    def __init__(self, folder: Path) -> None:
        self.store = ObjectStore(folder / "objects.db")
        self.store.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fraud"}})
        self.store.create(admission.runtime())
        self._app = api.app(self.store, pods=NoPods(), token=TOKEN)

    def post(self, service: dict[str, Any]) -> httpx.Response:
        """Ask to make it, as a client that asks for no strict fields; what was made is taken away again."""

        async def ask() -> httpx.Response:
            headers = {"authorization": f"Bearer {TOKEN}"}
            transport = httpx.ASGITransport(app=self._app)
            group, _, version = service["apiVersion"].partition("/")
            plural = "inferenceservices" if service["kind"] == "InferenceService" else service["kind"] + "s"
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1", headers=headers) as client:
                return await client.post(f"/apis/{group}/{version}/namespaces/fraud/{plural}?dryRun=All", json=service)

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    made = Asked(tmp_path_factory.mktemp("admission"))
    yield made
    made.store.close()


@pytest.mark.parametrize("case", admission.cases(), ids=lambda case: case.id)
def test_a_variant_is_taken_or_refused_as_by_the_real_one(case: Case, asked: Asked) -> None:
    answer = asked.post(case.service)
    if case.outcome == "refused":
        assert 400 <= answer.status_code < 500, answer.text
        message = answer.json()["message"]
        named = [re.split(r"[/~]", path)[-1] for path in case.changed]
        where = [part for path in case.changed for part in path.split("/") if part and not part.isdigit()]
        assert answer.status_code == 404 or any(part in message for part in (*named, *where)), message
        return
    assert answer.status_code == 201, answer.text
    warnings = " ".join(answer.headers.get_list("warning"))
    assert ("never ready" in warnings) == (case.outcome == "never ready" and case.id not in ELSEWHERE), warnings
    if case.outcome == "accepted, field dropped":
        assert "has no effect" in warnings or "unknown field" in warnings


@pytest.mark.parametrize(
    "case",
    [case for case in admission.cases() if case.outcome == "never ready" and case.id != "uri-pvc"],
    ids=lambda case: case.id,
)
def test_what_never_gets_ready_there_is_not_served_here(case: Case, asked: Asked) -> None:
    kept = asked.post(case.service).json()
    with pytest.raises(predictor.InvalidSpec):
        predictor.checked(kept, [admission.runtime()])


def test_a_status_that_somebody_writes_is_ignored(asked: Asked) -> None:
    plain = next(case.service for case in admission.cases() if case.id == "min-zero")
    answer = asked.post({**plain, "status": {"url": "http://a", "conditions": [{"type": "Ready"}]}})
    assert answer.status_code == 201 and "status" not in answer.json()
    # Whoever decodes it stops at a wrong type all the same.
    answer = asked.post({**plain, "status": {"url": 7, "conditions": "all good"}})
    assert answer.status_code == 422 and "status.conditions" in answer.text


def test_a_refusal_names_every_field_and_the_rule(asked: Asked) -> None:
    plain = next(case.service for case in admission.cases() if case.id == "min-zero")
    wrong = {**plain, "metadata": {**plain["metadata"], "labels": {"a.b/c": "d e"}}}
    wrong["spec"] = {"predictor": {**plain["spec"]["predictor"], "minReplicas": "2", "nodeSelector": {"gpu": True}}}
    causes = asked.post(wrong).json()["details"]["causes"]
    assert {cause["field"] for cause in causes} == {
        "metadata.labels[a.b/c]",
        "spec.predictor.minReplicas",
        "spec.predictor.nodeSelector.gpu",
    }
    assert all(re.search(r"\(HM\d{3}\)$", cause["message"]) for cause in causes)


def test_a_runtimes_own_fault_is_not_the_services(asked: Asked) -> None:
    plain = next(case.service for case in admission.cases() if case.id == "min-zero")
    broken = {**admission.runtime(), "metadata": {"name": "hallmark-runtime", "labels": {"a": "b c"}}}
    assert Admission(plain, around=[broken]).refusals == []


def test_paths_are_written_as_kubernetes_writes_them() -> None:
    assert shown(("spec", "containers", 0, "image")) == "spec.containers[0].image"
    assert shown(("metadata", "annotations", "a.b/c")) == "metadata.annotations[a.b/c]"
