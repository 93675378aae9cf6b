"""The feature stream as it is rendered: from the declared views, strictly by the schemas, with the names that Terraform and the programs have."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from hallmark import names
from hallmark.declaration import domain as domains
from hallmark.declaration.features import Features
from hallmark.render import features, tenant
from hallmark.render.manifest import MARK
from hallmark.settings import Settings
from tests import strict

ROOT = Path(__file__).parents[3]
SETTINGS = Settings.load({"HALLMARK_ROOT": str(ROOT)})
VIEWS = ["buyer_orders@1", "device@2"]


def test_every_object_keeps_its_strict_schema() -> None:
    for each in features.objects(VIEWS):
        if each["kind"] == "PodMonitor":
            strict.validator("monitoring.coreos.com", "PodMonitor", "v1").validate(each)
        else:
            kubernetes_validate.validate(each, "1.32", strict=True)
        assert each["metadata"]["namespace"] == names.FEATURES


def test_a_new_version_of_a_view_runs_beside_the_old_one(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "features", tmp_path / "features")
    (tmp_path / "domains").mkdir()
    settings = Settings.load({"HALLMARK_ROOT": str(tmp_path)})
    old = (tmp_path / "features" / "device" / "v1.yaml").read_text()
    (tmp_path / "features" / "device" / "v2.yaml").write_text(old.replace("version: 1", "version: 2"))
    ((path, text),) = features.files(settings, []).items()
    assert path == tmp_path / "manifests" / "platform" / features.FILE and text.startswith(f"{MARK}features/")
    assert text.index("- device@1\n") < text.index("- device@2\n") < text.index("- ip_orders@1\n")


def test_without_views_nothing_runs_and_nothing_comes_in_or_out(tmp_path: Path) -> None:
    assert {each["kind"] for each in features.objects([])} == {"NetworkPolicy", "ServiceAccount"}
    (tmp_path / "domains").mkdir()
    assert features.files(Settings.load({"HALLMARK_ROOT": str(tmp_path)}), []) == {}


@pytest.mark.parametrize("declares", [True, False])
def test_a_domain_that_declares_features_is_told_where_they_are_and_no_other_is(declares: bool) -> None:
    fraud = domains.load("fraud", SETTINGS).model_copy(
        update={"features": Features(views=("buyer_orders@1",)) if declares else None}
    )
    objects = {(each["kind"], each["metadata"]["name"]): each for each in tenant.objects(fraud, [fraud])}
    assert (("ConfigMap", names.FEATURE_STORE) in objects) == (("NetworkPolicy", "features") in objects) == declares
    if declares:
        data = objects["ConfigMap", names.FEATURE_STORE]["data"]
        valkey = urlsplit(data["valkey"])
        assert (valkey.scheme, valkey.username, valkey.port) == ("rediss", "fraud-predictor", 6379)
        assert dict(parse_qsl(valkey.query)) == {"iam": "hallmark-features", "region": names.REGION}
        assert data["offline"] == f"s3://hallmark-artifacts/features/offline?region={names.REGION}"
        assert data["dynamodb"] == f"dynamodb://hallmark-features?region={names.REGION}"
