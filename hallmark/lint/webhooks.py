"""What KServe's webhooks refuse of an InferenceService, and names that are too long for what its controller makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hallmark.lint.api_server import bad_marks
from hallmark.lint.objects import COMPONENTS, CONTAINER, FRAMEWORKS, LintContext, Service
from hallmark.lint.reading import dig, integer, listing, mapping, quantity, text
from hallmark.lint.rules import KSERVE, Outcome, RuleMatch, rule
from hallmark.lint.source import Keys

_TYPES = KSERVE + "pkg/apis/serving/v1beta1/"
_VALIDATION = _TYPES + "inference_service_validation.go"
_BLOCKED = ("PYTHONPATH",)
_MODES = ("all", "request", "response")
_CLASS = "serving.kserve.io/autoscalerClass"
_LABEL = 63
"""Characters of a label's value, and of one part of a host name."""


@rule(
    "HM122",
    "Not exactly one implementation",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: exactly one of model, a framework or containers makes a predictor; a transformer and an explainer have containers",
    fix="keep one of them; containers beside a model are sidecars, and none of them is called kserve-container",
    link=_TYPES + "component.go",
)
def implementations(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateExactlyOneImplementation; GetImplementations of each component; setPredictorModelDefaults for a framework beside model."""
    spec = service.get("spec")
    if spec is not None and not isinstance(spec, dict):
        return
    for name in COMPONENTS:
        component = mapping(spec).get(name)
        if name == "predictor" and component is None:
            component = {}
        if isinstance(component, dict):
            yield from _one(service, component, ("spec", name))
    for canary in service.canaries:
        yield from _one(service, canary.predictor, (*canary.path, "predictor"))


def _one(service: Service, component: dict[str, Any], path: Keys) -> Iterator[RuleMatch]:
    containers = listing(component, "containers")
    if path[-1] != "predictor":
        found = [key for key in ("art",) if component.get(key) is not None] + (["containers"] if containers else [])
        if found == ["art"]:
            hit = service.hit("the platform has no image of an art explainer: give it containers", *path, "art")
            yield hit.ends(Outcome.never_ready)
    else:
        found = [key for key in (*FRAMEWORKS, "model") if component.get(key) is not None]
        if path[1] == "predictor" and found[:-1] and found[-1] == "model":
            yield service.hit(f"{found[0]} replaces model", *path, "model").warned(Outcome.dropped)
            found.pop()
        main = [CONTAINER for item in containers if text(item, "name") == CONTAINER]
        found += main or (["containers"] if containers and not found else [])
    if len(found) != 1:
        yield service.hit(f"{' and '.join(found) or 'nothing'} in {'.'.join(map(str, path))}", *path)


@rule(
    "HM123",
    "Nodes together that KServe refuses",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: several nodes serve a model from pvc:// or oci:// only, with autoscalerClass none, sizes of 1 or more, one container",
    fix="mend what the message names, or remove workerSpec",
    link=_VALIDATION,
)
def multi_node(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateMultiNodeVariables."""
    worker, at = service.predictor.get("workerSpec"), ("spec", "predictor", "workerSpec")
    if not isinstance(worker, dict):
        return
    if len(listing(worker, "containers")) > 1:
        yield service.hit("more than one container", *at, "containers")
    for key in ("pipelineParallelSize", "tensorParallelSize"):
        if (size := integer(worker, key)) is not None and size < 1:
            yield service.hit(f"{key} {size}", *at, key)
    if "model" not in service.predictor:
        return
    uri = text(service.model, "storageUri")
    if not uri.startswith(("pvc://", "oci://")):
        yield service.hit(f"storageUri {uri or 'is missing'}", "spec", "predictor", "model", "storageUri")
    if (found := service.annotations.get(_CLASS)) != "none":
        yield service.hit(f"workerSpec with autoscalerClass {found or 'unset'}", *at)
    for index, item in enumerate(listing(service.model, "env")):
        if (name := text(item, "name")) in ("PIPELINE_PARALLEL_SIZE", "TENSOR_PARALLEL_SIZE"):
            yield service.hit(f"{name} beside workerSpec", "spec", "predictor", "model", "env", index, "name")


@rule(
    "HM124",
    "An environment variable that KServe refuses",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: PYTHONPATH is blocked for security, and the PROTOCOL of a predictor of one's own is v1 or v2",
    fix="remove it; put the code into the image",
    link=KSERVE + "pkg/validation/env_policy.go",
)
def blocked_env(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateBlockedEnvVars; CustomPredictor.validateCustomProtocol. What a runtime sets is not looked at."""
    for path, component in service.components:
        holders: list[tuple[Keys, Any]] = [
            ((*path, key, index), item)
            for key in ("containers", "initContainers")
            for index, item in enumerate(listing(component, key))
        ]
        holders += [((*path, key), component.get(key)) for key in ("model", "art", *FRAMEWORKS)]
        for where, holder in holders:
            for index, item in enumerate(listing(holder, "env")):
                if text(item, "name") in _BLOCKED:
                    yield service.hit(f"{text(item, 'name')} is blocked", *where, "env", index, "name")
    if service.implementation[1]:
        return
    for index, item in enumerate(listing(service.predictor, "containers", 0, "env")):
        if text(item, "name") == "PROTOCOL" and text(item, "value") not in ("v1", "v2"):
            at = ("spec", "predictor", "containers", 0, "env", index, "value")
            yield service.hit(f"PROTOCOL {text(item, 'value')}", *at)


@rule(
    "HM125",
    "A logger that KServe refuses",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: the mode is all, request or response and has no default; storage needs key, path and parameters together",
    fix="write mode: all; give storage all three, or leave it out",
    link=_TYPES + "component.go",
)
def logger_settings(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateLogger."""
    for path, component in service.predictors:
        logger = component.get("logger")
        if not isinstance(logger, dict):
            continue
        if text(logger, "mode") not in _MODES and not logger.get("mode"):
            yield service.hit("a logger without a mode", *path, "logger")
        storage = logger.get("storage")
        if isinstance(storage, dict):
            missing = [key for key in ("key", "path", "parameters") if storage.get(key) is None]
            if missing:
                yield service.hit(f"storage without {', '.join(missing)}", *path, "logger", "storage")


@rule(
    "HM126",
    "A scale target that the autoscaler refuses",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: 1 to 100 for cpu, 1 or more for memory and rps; autoScaling names metrics of the types that its class knows",
    fix="lower or raise scaleTarget; write metrics of type Resource (hpa), or Resource, External and PodMetric (keda)",
    link=_VALIDATION,
)
def scale_target(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateScalingHPACompExtension, validateScalingKedaCompExtension, validateScalingKPACompExtension."""
    written = text(service.annotations, _CLASS)
    by_hpa = text(service.annotations, "autoscaling.knative.dev/class").startswith("hpa.")
    for path, component in service.components:
        metric, target = text(component, "scaleMetric"), integer(component, "scaleTarget")
        metrics = listing(component, "autoScaling", "metrics")
        if (service.mode == "Standard" and written == "hpa") or (service.mode != "Standard" and by_hpa):
            low = target is not None and target < 1 and metric in ("", "cpu", "memory")
            if target is not None and (low or target > 100):
                yield service.hit(f"scaleTarget {target} of {metric or 'cpu'}", *path, "scaleTarget")
            yield from _metrics(service, metrics, path, ("Resource",))
        elif service.mode == "Standard" and written == "keda":
            yield from _metrics(service, metrics, path, ("Resource", "External", "PodMetric"))
        elif service.mode == "Knative" and metric == "rps" and target is not None and target < 1:
            yield service.hit(f"scaleTarget {target} of rps", *path, "scaleTarget")


def _metrics(service: Service, metrics: list[Any], path: Keys, known: tuple[str, ...]) -> Iterator[RuleMatch]:
    for index, item in enumerate(metrics):
        at, kind = (*path, "autoScaling", "metrics", index), text(item, "type")
        holder = mapping(item, kind.lower())
        if kind not in known or not holder:
            yield service.hit(
                f"a metric of type {kind or '(none)'}{'' if kind not in known else ' without its part'}", *at
            )
        elif len(known) > 1:
            yield from _keda(service, kind, holder, (*at, kind.lower()))


def _keda(service: Service, kind: str, holder: dict[str, Any], at: Keys) -> Iterator[RuleMatch]:
    target, name = mapping(holder, "target"), text(holder, "name")
    type_, average = text(target, "type"), integer(target, "averageUtilization")
    if kind != "Resource":
        if not text(holder, "metric", "query"):
            yield service.hit("no query", *at, "metric")
        if target.get("value") is None:
            yield service.hit("no target.value", *at, "target")
    elif type_ not in {"cpu": ("Utilization",), "memory": ("Utilization", "AverageValue")}.get(name, ()):
        yield service.hit(f"target of {name or '(no name)'} is of type {type_ or '(none)'}", *at, "target")
    elif type_ == "Utilization" and (average is None or not 1 <= average <= 100):
        yield service.hit(f"averageUtilization {average}", *at, "target")
    elif type_ == "AverageValue" and (quantity(target.get("averageValue")) or 0) < 2**20:
        yield service.hit(f"averageValue {target.get('averageValue')} of memory, 1Mi at least", *at, "target")


@rule(
    "HM127",
    "A name too long for what KServe makes of it",
    on=Service,
    outcome=Outcome.never_ready,
    reason="taken, and never ready: <name>-predictor names a Service (63 characters); in Standard mode it is also a label and part of a host",
    fix="shorten the name of the service, or of the predictor",
    link=KSERVE + "pkg/constants/constants.go",
)
def long_name(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """PredictorServiceName; GetRawServiceLabel puts `isvc.` before it; the domain template puts the namespace behind it."""
    standard = service.mode == "Standard"
    most = min(_LABEL - len("isvc."), _LABEL - 1 - len(service.namespace)) if standard else _LABEL
    for path, component in service.predictors:
        kind = "predictor" if path[-1] == "predictor" else str(path[-1])
        own = text(component, "name") if kind == "predictor" else ""
        made = "-".join(filter(None, (service.name, own, kind)))
        if len(made) > most:
            at = (*path, "name") if own and path[1] == "canary" else ("metadata", "name")
            yield service.hit(f"{made} has {len(made)} characters, at most {most}", *at)


@rule(
    "HM128",
    "Places of models that KServe refuses",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: each entry of storageUris has a uri and an absolute mountPath below /, without .., and all share a parent folder",
    fix="write mountPath: /mnt/models/<name> for each",
    link=_VALIDATION,
)
def storage_uris(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateMultipleStorageURIsSpec."""
    for path, component in service.components:
        tops = set()
        for index, item in enumerate(listing(component, "storageUris")):
            mount = dig(item, "mountPath")
            mount = "/mnt/models" if mount is None else str(mount)
            if not text(item, "uri"):
                yield service.hit("an empty uri", *path, "storageUris", index)
            elif mount == "/" or not mount.startswith("/") or ".." in mount:
                yield service.hit(f"mountPath {mount}", *path, "storageUris", index, "mountPath")
            elif not text(item, "uri").startswith("pvc://"):
                tops.add(mount.split("/")[1])
        if len(tops) > 1:
            yield service.hit(f"no folder in common: {', '.join(sorted(tops))}", *path, "storageUris")


@rule(
    "HM130",
    "A label that no pod may have",
    on=Service,
    outcome=Outcome.never_ready,
    reason="KServe takes it and writes it on what it makes, where it is refused: never ready",
    fix="letters, digits, dashes, dots and underscores, 63 characters at most, a letter or digit at both ends",
    link="https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/",
)
def component_marks(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """ksvc_reconciler.go, createKnativeService: a component's labels and annotations are the Knative Service's."""
    for path, component in service.predictors:
        yield from bad_marks(service, component, path)
