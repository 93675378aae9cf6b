"""Storage addresses of models that KServe cannot read, or reads as another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from hallmark.lint.objects import LintContext, Service
from hallmark.lint.reading import dig, listing, mapping, text
from hallmark.lint.rules import KSERVE, Outcome, RuleMatch, rule
from hallmark.lint.source import Keys

_VALIDATION = KSERVE + "pkg/apis/serving/v1beta1/inference_service_validation.go"
_STORAGE = KSERVE + "pkg/controller/v1beta1/inferenceservice/utils/utils.go"
_DIRECT = ("pvc://",)
"""Places that are mounted, and fetched by nobody."""
_SCHEMES = ("gs", "s3", "pvc", "file", "https", "http", "hdfs", "webhdfs", "oci", "oci+native", "oci+fetch", "hf")


def _uris(service: Service) -> Iterator[tuple[Keys, str, str]]:
    """Every storageUri: its path, itself, and the model format beside it."""
    for path, component in service.predictors:
        for key, part in component.items():
            if isinstance(part, dict) and (uri := text(part, "storageUri")):
                yield (*path, key, "storageUri"), uri, text(part, "modelFormat", "name") or key
        for index, item in enumerate(listing(component, "storageUris")):
            if uri := text(item, "uri"):
                yield (*path, "storageUris", index, "uri"), uri, ""
        for index, item in enumerate(listing(component, "containers", 0, "env")):
            if text(item, "name") == "STORAGE_URI" and (uri := text(item, "value")):
                yield (*path, "containers", 0, "env", index, "value"), uri, ""


def _prefixes(world: LintContext) -> list[str]:
    """What the ClusterStorageContainers among the files fetch."""
    return [
        text(item, "prefix")
        for each in world.of("ClusterStorageContainer")
        for item in listing(each.data, "spec", "supportedUriFormats")
    ]


@rule(
    "HM106",
    "A storageUri that KServe cannot fetch",
    on=Service,
    outcome=Outcome.never_ready,
    reason="KServe knows no mlflow://, models:/ or runs:/; the service never gets a pod",
    fix="write where the files are: the artifact_location of the logged model that the alias points to",
    link=_STORAGE,
)
def uri_scheme(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """utils.go, ValidateStorageURI and SupportedStorageURIPrefixList; a ClusterStorageContainer may add prefixes."""
    added = _prefixes(world)
    for path, uri, _ in _uris(service):
        scheme = uri.partition(":")[0]
        bare = "://" not in uri and not re.match(r"(models|runs|mlflow-artifacts):/", uri)
        if not bare and scheme not in _SCHEMES and not any(prefix and uri.startswith(prefix) for prefix in added):
            yield service.hit(f"{scheme}: is no place that KServe fetches from", *path)


@rule(
    "HM107",
    "A folder in a bucket without a slash at its end",
    on=Service,
    reason="the URI is a prefix: s3://b/fraud/1 also fetches s3://b/fraud/10, and an MLflow model loses its folder",
    fix="end the URI with /",
    link=KSERVE + "python/storage/kserve_storage/kserve_storage.py",
)
def uri_prefix(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """kserve_storage.py, _download_s3: `bucket.objects.filter(Prefix=bucket_path)`; so for gs."""
    for path, uri, form in _uris(service):
        folder = form == "mlflow" or re.search(r"/v?\d+$", uri)
        if folder and uri.startswith(("s3://", "gs://")) and not uri.endswith("/"):
            yield service.hit(f"{uri} is a prefix, not a folder", *path)


@rule(
    "HM108",
    "A storageUri with .. or a query",
    on=Service,
    reason="a query (an S3 version, say) is dropped without a word, and .. leaves the tenant's prefix",
    fix="write the plain address of the folder; put versions in the path",
    link=KSERVE + "python/storage/kserve_storage/kserve_storage.py",
)
def uri_tricks(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """kserve_storage.py, _download_s3 reads netloc and path alone; faults.md 30: keys with `..` are refused."""
    for path, uri, _ in _uris(service):
        try:
            parts = urlsplit(uri)
        except ValueError:
            yield service.hit(f"{uri} is no address", *path)
            continue
        if ".." in parts.path.split("/") or ".." in parts.netloc.split("/"):
            yield service.hit(f"{uri} holds ..", *path)
        elif parts.scheme not in {"http", "https"} and (parts.query or parts.fragment):
            yield service.hit(f"{uri} has a {'query' if parts.query else 'fragment'}, which is dropped", *path)


@rule(
    "HM109",
    "Two addresses for one model",
    on=Service,
    outcome=Outcome.refused,
    reason="storageUri, storageUris and storage.path exclude each other: the first pair is rejected, the second fails to reconcile",
    fix="keep one of them",
    link=_VALIDATION,
)
def uri_twice(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateMultipleStorageURIs; predictor.go, addStorageInitializerAnnotations."""
    for path, component in service.components:
        for key, part in component.items():
            if isinstance(part, dict) and part.get("storageUri"):
                if component.get("storageUris"):
                    yield service.hit("storageUris beside storageUri", *path, "storageUris")
                if dig(part, "storage", "path"):
                    hit = service.hit("storage.path beside storageUri", *path, key, "storage", "path")
                    yield hit.ends(Outcome.never_ready)


@rule(
    "HM129",
    "A storageUri that no storage container of ours fetches",
    on=Service,
    outcome=Outcome.never_ready,
    reason="KServe's own initializer steps in, and has no securityContext: Pod Security restricted refuses the pod",
    fix="put the model where a ClusterStorageContainer fetches from, or declare one for this prefix",
    link=_STORAGE,
)
def uri_unfetched(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """GetStorageContainerSpec: the first that supports the address, else CreateInitContainerWithConfig; a pvc:// is mounted instead."""
    formats = [
        item
        for each in world.of("ClusterStorageContainer")
        for item in listing(each.data, "spec", "supportedUriFormats")
    ]
    for path, component in service.predictors:
        for key, part in component.items():
            if not formats or not isinstance(part, dict) or text(part, "storageUri"):
                continue
            if part.get("storageUri") == "":
                yield service.hit("an empty storageUri is fetched too; leave it out", *path, key, "storageUri")
            elif mapping(part, "storage"):
                yield service.hit("storage is fetched by no ClusterStorageContainer", *path, key, "storage")
    for path, uri, _ in _uris(service):
        scheme, found, _rest = uri.partition("://")
        known = scheme in _SCHEMES if found else not re.match(r"(models|runs|mlflow-artifacts):/", uri)
        if formats and known and not uri.startswith(_DIRECT) and not any(_fetches(item, uri) for item in formats):
            yield service.hit(f"{uri} is of no prefix that a ClusterStorageContainer has", *path)


def _fetches(form: Any, uri: str) -> bool:
    """IsStorageUriSupported: a format is a prefix, or where it has none a regular expression that finds something."""
    prefix, pattern = text(form, "prefix"), text(form, "regex")
    if prefix or not pattern:
        return bool(prefix) and uri.startswith(prefix)
    try:
        return re.search(pattern, uri) is not None
    except re.error:
        return False
