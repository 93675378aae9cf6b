"""Builds that each cluster's Argo CD would apply, by the real kubectl, judged by strict schemas. Each build is made once."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kubeflow_trainer_api.models import TrainerV1alpha1ClusterTrainingRuntime  # type: ignore[import-untyped]

from hallmark import names
from hallmark.artifacts.release import Release, Target
from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.render import decision, inferenceservice
from hallmark.render.kustomization import kustomization
from hallmark.render.manifest import manifest
from hallmark.settings import Settings
from tests import strict
from tests.hallmark.render import deciding
from tests.hallmark.training.fake_trainer import missing

Object = dict[str, Any]


ROOT = Path(__file__).parents[2]
CLUSTERS = ("dev", "staging", "production")
FIRST_QUICK = [pytest.param(each, marks=[] if each == "dev" else [pytest.mark.slow]) for each in CLUSTERS]
"""The clusters as parameters: that of developers in `make test`, the others, which differ in sizes and addresses, in `make slow`."""
STANDARD = frozenset({"staging"})
KUBERNETES = "1.32"
CORE = frozenset(
    {"", "admissionregistration.k8s.io", "apps", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io"}
)
DOMAINS = tuple(domains.names(Settings.load({"HALLMARK_ROOT": str(ROOT)})))


@functools.cache
def platform(cluster: str) -> tuple[Object, ...]:
    """Everything under manifests/clusters/<cluster>: the platform, the rules and dashboards, and Argo CD's objects."""
    return built(ROOT / "manifests" / "clusters" / cluster)


@functools.cache
def tenant(cluster: str, domain: str) -> tuple[Object, ...]:
    """The ApplicationSet's build of inference_services/<domain> on that cluster, with a release and a release unit, so that a model and what decides are among it."""
    folder = _checkout() / "inference_services" / domain
    (template,) = [each for each in platform(cluster) if each["kind"] == "ApplicationSet"]
    source = template["spec"]["template"]["spec"]["source"]
    assert source["path"].replace("{{ .path.basename }}", domain) == f"inference_services/{domain}"
    # Argo CD writes the components into a copy of the kustomization, as `kustomize edit add component` does.
    body = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    beside = _checkout() / "inference_services" / f"{cluster}-{domain}"
    beside.mkdir()
    for path in folder.glob("*.yaml"):
        shutil.copy(path, beside)
    body["components"] = source["kustomize"]["components"]
    (beside / "kustomization.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    return built(beside)


def everything(cluster: str) -> list[Object]:
    """The platform and all tenants."""
    return [*platform(cluster), *(each for domain in DOMAINS for each in tenant(cluster, domain))]


@functools.cache
def texts(cluster: str) -> dict[tuple[str, str, str, str], str]:
    """Each object of the cluster as text, by identity, to search in."""
    return {identity(each): json.dumps(each) for each in everything(cluster)}


def built(folder: Path) -> tuple[Object, ...]:
    """The objects that `kubectl kustomize` makes of `folder`, offline."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on this machine")
    command = [kubectl, "kustomize", "--load-restrictor", "LoadRestrictionsNone", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(each for each in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if each)


def declared(domain: str) -> Domain:
    """A domain's declaration."""
    return domains.load(domain, Settings.load({"HALLMARK_ROOT": str(ROOT)}))


def release(domain: str) -> Release:
    """A first version, at rest: no rollout is under way."""
    target = Target(version=3, storageUri=names.storage(domain, "models", "3") + "/", digest="sha256:" + "3" * 64)
    return Release(stable=target)


def identity(each: Object) -> tuple[str, str, str, str]:
    """Group, kind, namespace and name: two objects with one identity overwrite each other."""
    meta = each["metadata"]
    return each["apiVersion"].rpartition("/")[0], each["kind"], meta.get("namespace", ""), meta["name"]


def problems(each: Object) -> list[str]:
    """Breaches of the strict schema of an object's kind: of Kubernetes 1.32, or of the custom resource's own."""
    import kubernetes_validate  # type: ignore[import-untyped]

    group, _, version = each["apiVersion"].rpartition("/")
    if each["kind"] == "ClusterTrainingRuntime":
        lost = missing(each, TrainerV1alpha1ClusterTrainingRuntime.from_dict(each).to_dict(), "")
        return [f"{lost}: not a field of Kubeflow Trainer's, or written otherwise there"] if lost else []
    if group not in CORE:
        validator = _validator(group, each["kind"], version)
        return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(each)]
    try:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return [str(error).splitlines()[0]]
    return []


@functools.cache
def _validator(group: str, kind: str, version: str) -> Any:
    return jsonschema.Draft202012Validator(_mended(strict.schema(group, kind, version)))


def _mended(schema: Any, *, branch: bool = False) -> Any:
    """The schema without `additionalProperties: false` inside oneOf and its like: the schema around them says it for the whole
    object, and in a branch it refuses the fields that only other branches name (a Gateway's address)."""
    if isinstance(schema, list):
        return [_mended(each, branch=branch) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _mended(value, branch=branch or key in {"oneOf", "anyOf", "allOf", "not"})
        for key, value in schema.items()
        if not (branch and key == "additionalProperties" and value is False)
    }


@functools.cache
def _checkout() -> Path:
    """A copy of what tenants are built from, with a release of each domain rendered into it."""
    folder = Path(tempfile.mkdtemp(prefix="hallmark-builds-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for part in ("clusters", "tenants"):
        shutil.copytree(ROOT / "manifests" / part, folder / "manifests" / part)
    for domain in DOMAINS:
        place = folder / "inference_services" / domain
        place.mkdir(parents=True)
        for path in (ROOT / "inference_services" / domain).glob("*.yaml"):
            if path.name != "release.yaml":
                shutil.copy(path, place)
        if declared(domain).decision:
            (decides := folder / "decides" / domain).mkdir(parents=True)
            found = deciding.decides(decides)
            (place / decision.DECISION_FILE).write_text(manifest(found, source="a test"), encoding="utf-8")
        served = inferenceservice.objects(declared(domain), release(domain))
        (place / inferenceservice.FILE).write_text(manifest(served, source="a test"), encoding="utf-8")
        resources = yaml.safe_load((place / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
        wanted = dict.fromkeys(
            [*resources, *(path.name for path in place.glob(decision.DECISION_FILE)), inferenceservice.FILE]
        )
        (place / "kustomization.yaml").write_text(yaml.safe_dump(kustomization(list(wanted))), encoding="utf-8")
    return folder
