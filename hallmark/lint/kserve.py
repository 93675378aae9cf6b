"""Fields that KServe's webhook and controller reject, or accept and ignore, in either mode."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hallmark.lint.objects import CONTAINER, FRAMEWORKS, LEGACY, MODE, ClusterObject, LintContext, Service
from hallmark.lint.pods import Pod
from hallmark.lint.reading import dig, integer, listing, mapping, text
from hallmark.lint.rules import KSERVE, Outcome, RuleMatch, Severity, rule

_VALIDATION = KSERVE + "pkg/apis/serving/v1beta1/inference_service_validation.go"
_PREDICTOR = KSERVE + "pkg/controller/v1beta1/inferenceservice/components/predictor.go"
_STORAGE = KSERVE + "pkg/controller/v1beta1/inferenceservice/utils/utils.go"
_INJECTED = {
    "storage-initializer": "KServe's model download",
    "agent": "KServe's logger and batcher",
    "modelcar": "KServe's oci:// models",
    "modelcar-init": "KServe's oci:// models",
    "queue-proxy": "Knative's sidecar",
    "istio-proxy": "Istio's sidecar",
    "istio-init": "Istio's set-up",
}
_HANDED_OVER = {
    "autoscaling.knative.dev/min-scale": "minReplicas",
    "autoscaling.knative.dev/minScale": "minReplicas",
    "autoscaling.knative.dev/max-scale": "maxReplicas",
    "autoscaling.knative.dev/maxScale": "maxReplicas",
}
_FINDS = ("app.kubernetes.io/part-of", "app.kubernetes.io/name", "app.kubernetes.io/component")
"""Labels by which KServe's LLM controller selects what it made for an LLMInferenceService."""
_CLASS = "autoscaling.knative.dev/class"
_CLASSES = ("hpa", "external", "keda", "none")


@rule(
    "HM101",
    "No deployment mode",
    on=Service,
    reason="without the annotation the installer's default decides, which differs between clusters and cannot be changed later",
    fix=f'set metadata.annotations["{MODE}"] to Knative or Standard',
    link=_VALIDATION,
)
def no_mode(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """constants.go: DefaultDeployment is Standard, the chart's defaultDeploymentMode another; validateDeploymentMode."""
    if not service.written:
        yield service.hit("no deploymentMode annotation", "metadata")


@rule(
    "HM102",
    "A deployment mode that is not written as KServe compares it",
    on=Service,
    reason="the webhook rewrites an older name, so Git and the cluster differ; a misspelt one is refused at the next update",
    fix="write Knative (was Serverless) or Standard (was RawDeployment)",
    link=_VALIDATION,
)
def legacy_mode(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """ParseDeploymentMode turns old names into new ones for the status, and validateDeploymentMode compares that as text."""
    if service.written and service.written not in {"Knative", "Standard"}:
        now = LEGACY.get(service.written)
        said = (
            f"KServe rewrites it to {now}"
            if now
            else "KServe takes its default instead, and refuses every later update"
        )
        hit = service.hit(f"deploymentMode is {service.written!r}: {said}", "metadata", "annotations", MODE)
        yield hit.warned() if now else hit


@rule(
    "HM103",
    "No runtime named",
    on=Service,
    severity=Severity.warning,
    reason="KServe takes the first runtime that selects the format by itself (never ready where none does); another one may take over",
    fix="set spec.predictor.model.runtime",
    link=_PREDICTOR,
)
def no_runtime(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """predictor.go, reconcileModel: `Get first supporting runtime`; an older framework field never names one."""
    key, model = service.implementation
    if not model or (key == "model" and text(model, "runtime")):
        return
    hit = service.hit("the model names no runtime", "spec", "predictor", key)
    offered = [each for each in world.runtimes.values() if each.namespace in ("", service.namespace)]
    if not world.runtimes or any(_taken_unnamed(each, key, model) for each in offered):
        yield hit
    else:
        found = f"no runtime takes {_format(key, model)} unnamed; there is {', '.join(each.name for each in offered) or 'none'}"
        yield hit._replace(text=found, severity=Severity.error, outcome=Outcome.never_ready)


def _format(key: str, model: dict[str, Any]) -> str:
    return text(model, "modelFormat", "name") if key == "model" else key


def _taken_unnamed(runtime: ClusterObject, key: str, model: dict[str, Any]) -> bool:
    """GetSupportingRuntimes: enabled, speaks the protocol, and lists the format with autoSelect."""
    spec, version = mapping(runtime.data, "spec"), dig(model, "modelFormat", "version")
    # The webhook gives these frameworks v2 where they name no protocol.
    protocol = text(model, "protocolVersion") or ("v2" if key in ("onnx", "triton", "huggingface") else "")
    listed = any(
        text(item, "name") == _format(key, model)
        and dig(item, "autoSelect") is True
        and version in (None, dig(item, "version"))
        for item in listing(spec, "supportedModelFormats")
    )
    return listed and not spec.get("disabled") and (not protocol or protocol in listing(spec, "protocolVersions"))


@rule(
    "HM104",
    "A runtime that does not take this model",
    on=Service,
    outcome=Outcome.never_ready,
    reason="the runtime's lists of formats, versions and protocols are compared as text; the service never becomes ready",
    fix="name a format, version and protocolVersion of the runtime's lists, or another runtime",
    link=_PREDICTOR,
)
def runtime_refuses(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """predictor.go, reconcileModel: NoSupportingRuntime, RuntimeDisabled; predictor_model.go, RuntimeSupportsModel."""
    model = service.model
    runtime = world.runtime(service, model)
    if not model or runtime is None:
        return
    at = ("spec", "predictor", "model")
    if dig(runtime.data, "spec", "disabled") is True:
        yield service.hit(f"runtime {runtime.name} is disabled", *at, "runtime")
    protocol, offered = text(model, "protocolVersion"), listing(runtime.data, "spec", "protocolVersions")
    if protocol and offered and protocol not in offered:
        yield service.hit(
            f"runtime {runtime.name} speaks {', '.join(map(str, offered))}, not {protocol}", *at, "protocolVersion"
        )
    name, version = text(model, "modelFormat", "name"), dig(model, "modelFormat", "version")
    formats = [item for item in listing(runtime.data, "spec", "supportedModelFormats") if isinstance(item, dict)]
    taken = [item.get("name") for item in formats] + [(item.get("name"), item.get("version")) for item in formats]
    if name and ((name, version) if version is not None else name) not in taken:
        shown = f"{name} {version}" if version is not None else name
        yield service.hit(f"runtime {runtime.name} does not list the format {shown}", *at, "modelFormat")


@rule(
    "HM105",
    "A runtime that is nowhere",
    on=Service,
    outcome=Outcome.never_ready,
    reason="KServe waits for it without end: RuntimeNotRecognized",
    fix="name a ClusterServingRuntime, or a ServingRuntime of the same namespace",
    link=_PREDICTOR,
)
def runtime_unknown(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """Only where runtimes are among the files: KServe's own ones are not. utils.go, GetServingRuntime."""
    known = ", ".join(sorted({each for _, each in world.runtimes}))
    for path, component in service.predictors if known else ():
        model = mapping(component, "model")
        name = text(model, "runtime")
        if name and world.runtime(service, model) is None and not name.startswith("kserve-"):
            said = f"no runtime {name} for namespace {service.namespace}; there is {known}"
            yield service.hit(said, *path, "model", "runtime")


@rule(
    "HM110",
    "A batcher with a protocol that it does not know",
    on=Service,
    severity=Severity.warning,
    reason="the batcher takes V1 HTTP (…:predict with instances) alone: V2 and gRPC requests pass it one by one",
    fix="remove batcher, and batch in the model server; or use protocolVersion v1",
    link=KSERVE + "pkg/batcher/handler.go",
)
def batcher(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """handler.go, ServeHTTP: `only batch predict requests`, `:predict$`."""
    protocol = text(service.model, "protocolVersion")
    if "batcher" in service.predictor and protocol not in {"", "v1"}:
        yield service.hit(f"batcher with protocolVersion {protocol}", "spec", "predictor", "batcher")


@rule(
    "HM111",
    "A logger whose events do not say which variant answered",
    on=Service,
    severity=Severity.warning,
    reason="KServe puts the pod's label `endpoint` into each event, and leaves it empty without one: stable and canary mix",
    fix="set the label endpoint: stable on the predictor, endpoint: canary on each canary's predictor",
    link=KSERVE + "pkg/webhook/admission/pod/agent_injector.go",
)
def logger(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """agent_injector.go: `endpoint := pod.Labels[constants.KServiceEndpointLabel]`."""
    for path, component in service.predictors:
        canary = path[:2] == ("spec", "canary")
        logged = "logger" in component or (canary and "logger" in service.predictor)
        label = text(component, "labels", "endpoint")
        if logged and not (label or (not canary and mapping(service.data, "metadata", "labels").get("endpoint"))):
            yield service.hit(
                "logger without the label endpoint", *path, *(["logger"] if "logger" in component else [])
            )


@rule(
    "HM112",
    "A reserved container name",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="the name belongs to a container that KServe, Knative or Istio adds or fills: the pod is rejected, or yours is replaced",
    fix="rename the container",
    link=KSERVE + "pkg/constants/constants.go",
)
def reserved_name(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """constants.go, InferenceService container names; predictor.go, GetImplementations: kserve-container beside model is two."""
    if pod.owner.group not in {"serving.kserve.io", "serving.knative.dev"}:
        return
    for index, container in enumerate(pod.containers):
        if pod.owner.kind == "LLMInferenceService" and container.name == "storage-initializer":
            continue  # workload_storage.go, attachStorageInitializer: merged into KServe's own, on purpose
        if container.name in _INJECTED:
            yield container.hit(f"{container.name} is the name of {_INJECTED[container.name]}", "name")
        elif container.name == CONTAINER and index and pod.service and pod.spec.get("model"):
            hit = container.hit(f"{container.name} beside model makes two predictors of one", "name")
            yield hit.ends(Outcome.refused)


@rule(
    "HM113",
    "More replicas at least than at most",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: MinReplicas cannot be greater than MaxReplicas",
    fix="under the component write minReplicas: 0 or more (1 where none is written), and a maxReplicas no lower; 0 or none is no limit",
    link=KSERVE + "pkg/apis/serving/v1beta1/component.go",
)
def replicas(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """component.go, validateReplicas: no minReplicas counts as 1, a maxReplicas of 0 as none."""
    for path, component in service.predictors:
        least, most = integer(component, "minReplicas"), integer(component, "maxReplicas")
        least = 1 if least is None else least
        if least < 0 or (most is not None and (most < 0 or (most and least > most))):
            key = "minReplicas" if "minReplicas" in component and (most is None or most >= 0) else "maxReplicas"
            hit = service.hit(f"minReplicas {least}, maxReplicas {'unset' if most is None else most}", *path, key)
            fixes = [f"minReplicas: {most}"] if least >= 0 and most and most > 0 else []
            fixes += [f"maxReplicas: {least} or more"] if least > 0 else ["0 or more"]
            yield hit.mended(f"write {', or '.join(fixes)}, under {'.'.join(map(str, path))}")


@rule(
    "HM114",
    "A name that KServe refuses",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: a name starts with a letter and holds lower-case letters, digits and dashes",
    fix="rename it, such as fraud or fraud-v2",
    link=KSERVE + "pkg/apis/serving/v1beta1/inference_service_validation.go",
)
def name(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateInferenceServiceName, IsvcNameFmt."""
    if service.name and not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", service.name):
        yield service.hit(f"the name {service.name!r}", "metadata", "name")


@rule(
    "HM115",
    "A scale annotation that KServe drops",
    on=Service,
    severity=Severity.warning,
    outcome=Outcome.dropped,
    reason="KServe takes this annotation away and writes its own from the spec: the value has no effect",
    fix="set minReplicas and maxReplicas of the component",
    link=KSERVE + "pkg/constants/constants.go",
)
def scale_annotation(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """constants.go, ServiceAnnotationDisallowedList; ksvc_reconciler.go, SetAutoScalingAnnotations."""
    places = [(("metadata",), mapping(service.data, "metadata")), *service.predictors]
    for path, holder in places:
        for key in mapping(holder, "annotations"):
            if key in _HANDED_OVER:
                yield service.hit(f"{key} is dropped; {_HANDED_OVER[key]} says it", *path, "annotations", key)


@rule(
    "HM116",
    "A named model",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: the 'name' field is not allowed in standard predictor",
    fix="remove it: the container is always kserve-container, and the model's name is the service's",
    link=_VALIDATION,
)
def named_model(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validatePredictor."""
    for key in ("model", *FRAMEWORKS):
        if name := text(service.predictor, key, "name"):
            yield service.hit(f"{key}.name is {name}", "spec", "predictor", key, "name")


@rule(
    "HM117",
    "A scale metric of the other mode",
    on=Service,
    outcome=Outcome.refused,
    reason="Knative's own scaler knows concurrency and rps, a HorizontalPodAutoscaler cpu and memory: rejected, or scaled by nothing",
    fix="Knative: concurrency or rps. Standard: cpu or memory",
    link=_VALIDATION,
)
def scale_metric(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateAutoScalingCompExtension: in Standard mode the metric is compared only where the class is written (hpa, keda)."""
    written = text(service.annotations, "serving.kserve.io/autoscalerClass")
    by_hpa = service.mode == "Standard" or text(service.annotations, _CLASS).startswith("hpa.")
    known = {"cpu", "memory"} if by_hpa else {"concurrency", "rps"}
    for path, component in service.components:
        metric = text(component, "scaleMetric")
        if not metric or not service.mode or (metric in known and written != "keda"):
            continue
        hit = service.hit(f"scaleMetric {metric} in {service.mode} mode", *path, "scaleMetric")
        if written == "keda" and service.mode == "Standard":
            yield service.hit(f"scaleMetric {metric} with KEDA, which takes autoScaling alone", *path, "scaleMetric")
        elif metric not in known:
            yield hit.warned(Outcome.dropped) if service.mode == "Standard" and written != "hpa" else hit


@rule(
    "HM118",
    "An autoscaler class that KServe does not know",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: not a supported autoscaler class type",
    fix="one of hpa, keda, external, none (Standard mode), or no annotation",
    link=_VALIDATION,
)
def autoscaler_class(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateInferenceServiceAutoscaler, AutoscalerAllowedClassList."""
    key = "serving.kserve.io/autoscalerClass"
    found = service.annotations.get(key)
    if found is not None and found not in _CLASSES:
        yield service.hit(f"autoscalerClass is {found!r}", "metadata", "annotations", key)


@rule(
    "HM119",
    "A serving runtime without kserve-container",
    on=ClusterObject,
    reason="the model's settings are merged into the container of that name: failed to find kserve-container",
    fix="name the model server's container kserve-container",
    link=_STORAGE,
)
def runtime_container(each: ClusterObject, world: LintContext) -> Iterator[RuleMatch]:
    """utils.go, MergeServingRuntimeAndInferenceServiceSpecs."""
    if each.kind in {"ServingRuntime", "ClusterServingRuntime"} and not each.get("spec", "multiModel"):
        names = [text(item, "name") for item in listing(each.data, "spec", "containers")]
        if CONTAINER not in names:
            yield each.hit(f"the containers are {', '.join(names) or 'none'}", "spec", "containers")


@rule(
    "HM121",
    "A model without a format",
    on=Service,
    outcome=Outcome.never_ready,
    reason="KServe's webhook writes an empty name where there is none, and no runtime supports that: never ready",
    fix="set modelFormat.name",
    link=_PREDICTOR,
)
def incomplete(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """predictor.go, reconcileModel; a canary's model is merged over stable's."""
    for path, component in service.components:
        if component.get("model") is not None and not text(mapping(component, "model"), "modelFormat", "name"):
            yield service.hit("no modelFormat.name", *path, "model")


@rule(
    "HM141",
    "A label that hides from KServe what it made",
    on=ClusterObject,
    reason="spec.labels replace the labels by which KServe's LLM controller finds its Deployment again: it fails for ever on one that exists",
    fix="take the label out of spec.labels; those of metadata may stay",
    link=KSERVE + "pkg/controller/v1alpha2/llmisvc/workload_single_node.go",
)
def hiding_label(each: ClusterObject, world: LintContext) -> Iterator[RuleMatch]:
    """PropagateMap writes spec.labels over the controller's own; cmd/llmisvc caches what is part of llminferenceservice alone."""
    if each.kind != "LLMInferenceService" or each.group != "serving.kserve.io":
        return
    for path in (("spec", "labels"), ("spec", "prefill", "labels"), ("spec", "router", "scheduler", "labels")):
        for label, value in mapping(each.data, *path).items():
            own = {"app.kubernetes.io/part-of": "llminferenceservice", "app.kubernetes.io/name": each.name}.get(label)
            if label in _FINDS and value != own:
                yield each.hit(f"{label}: {value} replaces KServe's own", *path, label)
