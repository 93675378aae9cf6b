"""Server-side apply: who owns what, who conflicts, what goes away."""

from __future__ import annotations

from typing import Any

import pytest

from local_cluster import managed
from local_cluster import schema as schemas
from local_cluster.resources import INFERENCE_SERVICES

SCHEMA = schemas.of(INFERENCE_SERVICES)


def service(labels: dict[str, str] | None = None, **predictor: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": "fraud", "namespace": "fraud"}
    if labels:
        meta["labels"] = labels
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": meta,
        "spec": {"predictor": predictor},
    }


def env(**values: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def apply(live: Any, wanted: Any, *, manager: str = "ci", force: bool = False) -> Any:
    return managed.apply(live, wanted, manager=manager, force=force, schema=SCHEMA)


def test_fields_no_longer_applied_go_away() -> None:
    live = apply(None, service({"a": "1", "b": "2"}, minReplicas=1, model={"env": env(A="1", B="2")}))
    live = apply(live, service({"a": "1"}, model={"env": env(A="1")}))
    assert live["metadata"]["labels"] == {"a": "1"}
    assert live["spec"]["predictor"] == {"model": {"env": env(A="1")}}


def test_fields_of_others_stay() -> None:
    live = apply(None, service(minReplicas=1, model={"env": env(A="1")}))
    live = apply(live, service(maxReplicas=3, model={"env": env(B="2")}), manager="other")
    live = apply(live, service(minReplicas=2))
    assert live["spec"]["predictor"] == {"minReplicas": 2, "maxReplicas": 3, "model": {"env": env(B="2")}}


def test_an_item_that_another_manager_also_has_keeps_its_name() -> None:
    live = apply(None, service(model={"env": env(A="1")}))
    live = apply(live, service(model={"env": [{"name": "A"}]}), manager="other")
    live = apply(live, service(minReplicas=1))
    assert live["spec"]["predictor"]["model"] == {"env": [{"name": "A"}]}


def test_another_value_for_anothers_field_is_a_conflict_and_force_takes_it() -> None:
    live = apply(None, service(minReplicas=1, model={"env": env(A="1")}))
    wanted = service(minReplicas=2, model={"env": env(A="9")})
    with pytest.raises(managed.Owned) as refused:
        apply(live, wanted, manager="other")
    paths = {managed.shown(path) for _, path in refused.value.conflicts}
    assert paths == {".spec.predictor.minReplicas", '.spec.predictor.model.env[name="A"].value'}
    taken = apply(live, wanted, manager="other", force=True)
    assert taken["spec"]["predictor"]["minReplicas"] == 2
    back = apply(taken, service(model={"env": env(A="9")}), manager="ci")
    assert back["spec"]["predictor"]["minReplicas"] == 2, "ci no longer owned it"


def test_the_same_value_is_shared() -> None:
    live = apply(None, service(minReplicas=1))
    live = apply(live, service(minReplicas=1), manager="other")
    live = apply(live, service(maxReplicas=2))
    assert live["spec"]["predictor"] == {"minReplicas": 1, "maxReplicas": 2}


def test_a_patch_takes_the_fields_it_changes() -> None:
    live = apply(None, service(minReplicas=1, maxReplicas=2))
    changed = service(minReplicas=5, maxReplicas=2)
    changed["metadata"]["managedFields"] = live["metadata"]["managedFields"]
    managed.written(live, changed, manager="kubectl-patch", schema=SCHEMA)
    with pytest.raises(managed.Owned) as refused:
        apply(changed, service(minReplicas=1, maxReplicas=2))
    assert refused.value.conflicts == [("kubectl-patch", ("f:spec", "f:predictor", "f:minReplicas"))]


def test_applying_the_same_twice_changes_nothing() -> None:
    once = apply(None, service({"a": "1"}, minReplicas=1, model={"env": env(A="1")}))
    twice = apply(once, service({"a": "1"}, minReplicas=1, model={"env": env(A="1")}))
    for each in (once, twice):
        each["metadata"]["managedFields"][0].pop("time")
    assert once == twice


@pytest.mark.parametrize("broken", [[{}], [{"manager": "x"}], ["text"], [{"manager": "x", "fieldsV1": {"f:spec": 7}}]])
def test_managed_fields_that_make_no_sense_are_let_go(broken: Any) -> None:
    live = service(minReplicas=1)
    live["metadata"]["managedFields"] = broken
    assert apply(live, service(minReplicas=2))["spec"]["predictor"] == {"minReplicas": 2}
