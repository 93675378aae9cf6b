"""Our compact schemas: against KServe's own, and on what we render."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from local_cluster import protobuf
from local_cluster import schema as schemas
from local_cluster.resources import INFERENCE_SERVICES, SERVING_RUNTIMES
from tests import strict

ROOT = Path(__file__).parents[2]


def differences(ours: Any, theirs: Any, at: str) -> list[str]:
    """Fields that only one of two schemas has, at the levels that ours models."""
    ours = schemas.resolve(ours)
    if ours.get(schemas.ANY) or ours.get("type") not in ("object", "array"):
        return []
    if ours["type"] == "array":
        return differences(ours["items"], theirs["items"], f"{at}[]")
    if isinstance(ours.get("additionalProperties"), dict):
        return differences(ours["additionalProperties"], theirs["additionalProperties"], f"{at}{{}}")
    mine, kserves = ours["properties"], theirs.get("properties") or {}
    found = [f"{at}.{name}" for name in mine.keys() ^ kserves.keys()]
    for name in mine.keys() & kserves.keys():
        found += differences(mine[name], kserves[name], f"{at}.{name}")
    return found


@pytest.mark.parametrize(
    ("resource", "kind", "version"),
    [(INFERENCE_SERVICES, "InferenceService", "v1beta1"), (SERVING_RUNTIMES, "ClusterServingRuntime", "v1alpha1")],
)
def test_our_fields_are_kserves_fields(resource: Any, kind: str, version: str) -> None:
    theirs = strict.schema("serving.kserve.io", kind, version)["properties"]["spec"]
    assert differences(schemas.step(schemas.of(resource), "spec"), theirs, "spec") == []


def test_the_runtime_that_is_committed_fits() -> None:
    path = ROOT / "inference_services" / "runtime" / "servingruntime.yaml"
    for obj in yaml.safe_load_all(path.read_text()):
        assert list(schemas.unknown(obj, schemas.of(SERVING_RUNTIMES))) == []
        assert list(schemas.faults(obj, schemas.of(SERVING_RUNTIMES))) == []


def test_unknown_fields_are_named_by_their_path_and_pruned() -> None:
    predictor = {
        "minReplica": 1,
        "model": {"env": [{"name": "A", "valu": "x"}], "livenessProbe": {"any": {"thing": 1}}},
    }
    obj = {"metadata": {"labels": {"any.thing/x": "y"}}, "spec": {"predictor": predictor}}
    schema = schemas.of(INFERENCE_SERVICES)
    assert sorted(schemas.unknown(obj, schema)) == ["spec.predictor.minReplica", "spec.predictor.model.env[0].valu"]
    pruned = schemas.prune(obj, schema)
    assert pruned["spec"]["predictor"] == {"model": {"env": [{"name": "A"}], "livenessProbe": {"any": {"thing": 1}}}}


@pytest.mark.parametrize(
    ("predictor", "fields"),
    [
        ({"canaryTrafficPercent": 10.0}, []),
        ({"canaryTrafficPercent": True}, ["spec.predictor.canaryTrafficPercent"]),
        ({"minReplicas": 2**31}, ["spec.predictor.minReplicas"]),
        ({"logger": {"mode": "some"}}, ["spec.predictor.logger.mode"]),
        ({"model": {}}, ["spec.predictor.model.modelFormat"]),
        ({"containers": {}}, ["spec.predictor.containers"]),
        ({"containers": [{"env": [{"name": "A"}, {"name": "A"}]}]}, ["spec.predictor.containers[0].env[1]"]),
        ({"resources": {"limits": {"cpu": 1, "memory": "1Gi", "gpu": []}}}, ["spec.predictor.resources.limits.gpu"]),
    ],
)
def test_faults_name_the_field(predictor: Any, fields: list[str]) -> None:
    found = schemas.faults({"spec": {"predictor": predictor}}, schemas.of(INFERENCE_SERVICES))
    assert [fault.field for fault in found] == fields


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for body in (raw, protobuf.MAGIC + raw, protobuf.MAGIC + b"\x0a\x0b\x0a\x02v1\x12\x05Event\x12" + raw):
        try:
            assert protobuf.decode(body)["kind"]
        except ValueError:
            continue
