"""Standard mode: spec.canary behind the Gateway API, and what only Knative reads."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hallmark.lint.cluster import gateway_api, kserve_version
from hallmark.lint.objects import MODE, LintContext, Service
from hallmark.lint.reading import integer, listing, mapping, text
from hallmark.lint.rules import KSERVE, Outcome, RuleMatch, Severity, rule

_VALIDATION = KSERVE + "pkg/apis/serving/v1beta1/inference_service_validation.go"
_ROUTE = KSERVE + "pkg/controller/v1beta1/inferenceservice/reconcilers/ingress/httproute_reconciler.go"
_PREDICTOR = KSERVE + "pkg/controller/v1beta1/inferenceservice/components/predictor.go"
_FIXED = ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling", "workerSpec")
_FIRST = (0, 21, 0)
_LISTS = ("containers", "initContainers", "volumes", "tolerations", "topologySpreadConstraints", "imagePullSecrets")
_GRACE = 30
"""Seconds that Kubernetes gives a pod to end when it does not say."""


@rule(
    "HM201",
    "canaryTrafficPercent in Standard mode",
    on=Service,
    reason="Knative mode alone reads it: here the new version takes all traffic at once, without a word",
    fix="write spec.canary with trafficPercent, or set the mode to Knative",
    link=KSERVE + "pkg/controller/v1beta1/inferenceservice/reconcilers/knative/ksvc_reconciler.go",
)
def percent(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """ksvc_reconciler.go is its only reader."""
    for path, component in service.predictors:
        if service.mode == "Standard" and "canaryTrafficPercent" in component:
            found = component["canaryTrafficPercent"]
            yield service.hit(
                f"canaryTrafficPercent: {found} is ignored in Standard mode", *path, "canaryTrafficPercent"
            )


@rule(
    "HM202",
    "spec.canary outside Standard mode",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: canary is only supported in Standard deployment mode",
    fix=f"set the annotation {MODE}: Standard, or use predictor.canaryTrafficPercent",
    link=_VALIDATION,
)
def mode(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateCanarySpecs: the annotation as written has to be Standard, so none and RawDeployment are rejected too."""
    if service.canaries and service.written != "Standard":
        said = f"in {service.written} mode" if service.written else "without the mode annotation"
        yield service.hit(f"spec.canary {said}", "spec", "canary")


@rule(
    "HM203",
    "A canary behind a transformer",
    on=Service,
    reason="the route's weights are put on the canary's predictor itself: its share of the requests never sees the transformer",
    fix="put the transformer's work into the model server, or roll out in Knative mode",
    link=_ROUTE,
)
def transformer(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """httproute_reconciler.go, applyCanaryWeights: each rule's backends become stable (the transformer) and the canaries' predictors."""
    if service.canaries and mapping(service.data, "spec", "transformer"):
        yield service.hit("spec.canary with spec.transformer", "spec", "canary")


@rule(
    "HM204",
    "A canary at 0 percent without replicas",
    on=Service,
    reason="it gets that share of stable's replicas, which is none: nothing shows that it starts, and a share would go to no pod",
    fix="set minReplicas: 1 in the canary's predictor",
    link=_PREDICTOR,
)
def no_pods(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """predictor.go, canaryReplicaCount: minReplicas, else ceil(stable * percent / 100)."""
    for canary in service.canaries:
        least = integer(canary.predictor, "minReplicas")
        if (least is None and not canary.percent) or least == 0:
            hit = service.hit(
                f"canary {canary.name or '(no name)'} at {canary.percent}% has no pod",
                *canary.path,
                *(["predictor", "minReplicas"] if least == 0 else ["trafficPercent"]),
            )
            yield hit if canary.percent else hit.warned()


@rule(
    "HM205",
    "A canary that scales by itself",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: a canary has a fixed number of replicas and one node",
    fix="remove maxReplicas, scaleTarget, scaleMetric, autoScaling and workerSpec from the canary's predictor",
    link=_VALIDATION,
)
def scaled(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateCanarySpecs: a maxReplicas of 0 is none."""
    for canary in service.canaries:
        for key in _FIXED:
            if canary.predictor.get(key) is not None and (key != "maxReplicas" or canary.predictor[key]):
                yield service.hit(f"canary {canary.name} sets {key}", *canary.path, "predictor", key)


@rule(
    "HM206",
    "A canary with more replicas than stable",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: canary minReplicas must not exceed stable predictor minReplicas (1 where it has none)",
    fix="lower the canary's minReplicas, or raise stable's",
    link=_VALIDATION,
)
def larger(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateCanarySpecs."""
    stable = integer(service.predictor, "minReplicas")
    stable = 1 if stable is None else stable
    for canary in service.canaries:
        least = integer(canary.predictor, "minReplicas")
        if least is not None and least > stable:
            text = f"canary {canary.name} has minReplicas {least}, stable {stable}"
            yield service.hit(text, *canary.path, "predictor", "minReplicas")


@rule(
    "HM207",
    "Canaries with more than all traffic",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: each trafficPercent is 0 to 100, and together they are 100 at most",
    fix="lower trafficPercent; stable gets what is left",
    link=_VALIDATION,
)
def sum_of_shares(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateCanarySpecs."""
    shares = [canary.percent or 0 for canary in service.canaries]
    for canary, share in zip(service.canaries, shares, strict=True):
        if not 0 <= share <= 100:
            yield service.hit(f"canary {canary.name} at {share}%", *canary.path, "trafficPercent")
    if all(0 <= share <= 100 for share in shares) and sum(shares) > 100:
        text = f"{' + '.join(map(str, shares))} = {sum(shares)}%"
        yield service.hit(text, *service.canaries[-1].path, "trafficPercent")


@rule(
    "HM208",
    "A canary without a name of its own",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: predictor.name is required, differs from the other canaries' and from stable's",
    fix="set predictor.name, such as v7, in each canary and in stable",
    link=_VALIDATION,
)
def names(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateCanarySpecs."""
    seen = {text(service.predictor, "name")}
    for canary in service.canaries:
        if not canary.name:
            yield service.hit("a canary without predictor.name", *canary.path, "predictor")
        elif canary.name in seen:
            whose = "stable" if canary.name == text(service.predictor, "name") else "another canary"
            yield service.hit(f"{canary.name} is {whose}'s name too", *canary.path, "predictor", "name")
        seen.add(canary.name)


@rule(
    "HM209",
    "Stable renamed with the same model",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: predictor.name change requires a model change (promoting is both at once)",
    fix="change storageUri with the name, or keep the name",
    link=_VALIDATION,
)
def renamed(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validatePredictorNameChange; needs --against."""
    before = mapping(world.before(service), "spec", "predictor")
    if not before or text(before, "name") == text(service.predictor, "name"):
        return
    if text(before, "model", "storageUri") == text(service.model, "storageUri"):
        was, now = text(before, "name") or "(none)", text(service.predictor, "name") or "(none)"
        key = ["name"] if "name" in service.predictor else []
        yield service.hit(f"predictor.name {was} became {now}, storageUri stayed", "spec", "predictor", *key)


@rule(
    "HM210",
    "A KServe that is too old for spec.canary",
    on=Service,
    reason="before 0.21 the field is dropped, or makes pods that get no traffic",
    fix="install KServe 0.21 or newer, or roll out in Knative mode",
    link=_ROUTE,
)
def too_old(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """facts.md: from 0.21; 0.20 makes the pods and routes them nothing. The version is --kserve's, or the cluster's declaration's."""
    found = kserve_version(world)
    if service.canaries and found is not None and found[0] < _FIRST:
        yield service.hit(f"spec.canary with KServe {'.'.join(map(str, found[0]))} ({found[1]})", "spec", "canary")


@rule(
    "HM211",
    "spec.canary without the Gateway API",
    on=Service,
    reason="the shares are weights of an HTTPRoute, and without enableGatewayApi there is none: the canary gets no request",
    fix="set enableGatewayApi: true in KServe's ingress configuration",
    link=_ROUTE,
)
def no_gateway_api(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """Only HTTPRoutes get weights (applyCanaryWeights). Known from --no-gateway-api, or from the cluster's declaration."""
    found = gateway_api(world)
    if service.canaries and found is not None and not found[0]:
        yield service.hit(f"spec.canary with the Gateway API off ({found[1]})", "spec", "canary")


@rule(
    "HM212",
    "A canary whose list drops what stable has",
    on=Service,
    reason="a canary's list replaces stable's whole list: a sidecar, volume or toleration that it does not repeat is gone",
    fix="repeat stable's entries in the canary, leave the list out, or write the sidecar into the ServingRuntime",
    link=_PREDICTOR,
)
def dropped(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """predictor.go, buildCanaryPredictor: mergo.Merge with override replaces slices."""
    for canary in service.canaries:
        for key in _LISTS:
            if not canary.predictor.get(key):
                continue
            have = {_identity(item) for item in listing(canary.predictor, key)}
            lost = [item for item in listing(service.predictor, key) if _identity(item) not in have]
            if lost:
                text = f"{key} of canary {canary.name} lacks {', '.join(_identity(item) for item in lost)}"
                yield service.hit(text, *canary.path, "predictor", key)


def _identity(item: object) -> str:
    entry = mapping(item)
    return str(entry.get("name") or entry.get("key") or entry.get("topologyKey") or item)


@rule(
    "HM213",
    "Scale to zero in Standard mode",
    on=Service,
    severity=Severity.warning,
    outcome=Outcome.dropped,
    reason="a HorizontalPodAutoscaler keeps one pod at least: KServe turns 0 into 1, and the GPU stays taken",
    fix="use Knative mode (or KEDA) where it shall scale to zero; else write minReplicas: 1",
    link=KSERVE + "pkg/controller/v1beta1/inferenceservice/reconcilers/hpa/hpa_reconciler.go",
)
def to_zero(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """hpa_reconciler.go: a minReplicas under DefaultMinReplicas becomes it."""
    if service.mode != "Standard" or text(service.annotations, "serving.kserve.io/autoscalerClass") == "keda":
        return
    for path, component in service.components:
        if integer(component, "minReplicas") == 0:
            yield service.hit("minReplicas: 0 becomes 1 in Standard mode", *path, "minReplicas")


@rule(
    "HM214",
    "What Knative alone reads, in Standard mode",
    on=Service,
    severity=Severity.warning,
    reason="no Knative reconciles this service: the field is kept and has no effect",
    fix="remove it; a Deployment has no request limit and no retention",
    link=_PREDICTOR,
)
def knative_only(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """containerConcurrency and autoscaling.knative.dev/ reach a Knative Service only (ksvc_reconciler.go)."""
    if service.mode != "Standard":
        return
    for path, component in [((), {}), *service.predictors]:
        if path[-1:] == ("predictor",) and integer(component, "containerConcurrency"):
            yield service.hit("containerConcurrency in Standard mode", *path, "containerConcurrency")
        holder = component if path else mapping(service.data, "metadata")
        for key in mapping(holder, "annotations"):
            if "knative.dev/" in str(key):
                yield service.hit(f"{key} in Standard mode", *(path or ("metadata",)), "annotations", key)


@rule(
    "HM215",
    "Less time to end than a request may take",
    on=Service,
    reason="a pod that ends is killed after its grace period, and the requests that are still running are lost",
    fix="set terminationGracePeriodSeconds above the timeout",
    link="https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination",
)
def grace(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """Knative makes the grace period of the timeout by itself; a Deployment has 30 s unless it says."""
    if service.mode != "Standard":
        return
    for path, component in service.predictors:
        timeout, given = integer(component, "timeout"), integer(component, "terminationGracePeriodSeconds")
        period = _GRACE if given is None else given
        if timeout is not None and period < timeout:
            text = f"timeout {timeout}s, terminationGracePeriodSeconds {period}{' by default' if given is None else ''}"
            yield service.hit(text, *path, "timeout" if given is None else "terminationGracePeriodSeconds")


@rule(
    "HM217",
    "A strategy that no Deployment has",
    on=Service,
    outcome=Outcome.never_ready,
    reason="KServe takes it and writes it into a Deployment, which is refused: never ready",
    fix="write type: RollingUpdate with a rollingUpdate that moves, or type: Recreate alone",
    link="https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#strategy",
)
def no_strategy(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """apps validation, ValidateDeploymentStrategy."""
    for path, component in service.predictors if service.mode == "Standard" else ():
        strategy, at = mapping(component, "deploymentStrategy"), (*path, "deploymentStrategy")
        kind, rolling = text(strategy, "type") or "RollingUpdate", strategy.get("rollingUpdate")
        if kind not in ("RollingUpdate", "Recreate"):
            yield service.hit(f"type {kind}", *at, "type")
        elif kind == "Recreate" and rolling is not None:
            yield service.hit("rollingUpdate beside Recreate", *at, "rollingUpdate")
        elif isinstance(rolling, dict) and all(rolling.get(key) in (0, "0%") for key in ("maxSurge", "maxUnavailable")):
            yield service.hit("neither maxSurge nor maxUnavailable lets a pod move", *at, "rollingUpdate")
        for key in ("maxSurge", "maxUnavailable"):
            if isinstance(value := mapping(rolling).get(key), str) and not re.fullmatch(r"\d+%", value):
                yield service.hit(f"{key} {value!r}, expected a number or a percentage", *at, "rollingUpdate", key)


@rule(
    "HM216",
    "Another mode than before",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: deploymentMode cannot be changed; only a new object has another mode",
    fix="keep the mode, or delete the service and make it anew in the other",
    link=_VALIDATION,
)
def changed(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateDeploymentMode; needs --against."""
    before = world.before(service)
    was = Service(service.document, before).mode if before else ""
    if was and service.mode and was != service.mode:
        yield service.hit(f"the mode was {was} and is {service.mode}", "metadata", "annotations", MODE)
