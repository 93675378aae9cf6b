"""Knative mode: what Knative Serving rejects or ignores of a service: shares, times and limits."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hallmark.lint.cluster import limit, revision_limit
from hallmark.lint.objects import LintContext, Service
from hallmark.lint.reading import go_duration, integer, mapping, text
from hallmark.lint.rules import KNATIVE, KSERVE, Outcome, RuleMatch, rule

_RETENTION = re.compile(
    r"^autoscaling\.knative\.dev/(scale-to-zero-pod-retention-period|scaleToZeroPodRetentionPeriod)$"
)


@rule(
    "HM303",
    "A canary share with nothing beside it",
    on=Service,
    reason="a first revision has no predecessor: KServe ignores the share and sends it all traffic",
    fix="leave canaryTrafficPercent out of a first release",
    link=KSERVE + "pkg/controller/v1beta1/inferenceservice/reconcilers/knative/ksvc_reconciler.go",
)
def first_release(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """ksvc_reconciler.go: the share counts only where LatestRolledoutRevision is set. Needs --against."""
    if world.previous is None or world.before(service) is not None or service.mode != "Knative":
        return
    share = integer(service.predictor, "canaryTrafficPercent")
    if share is not None and share < 100:
        yield service.hit(
            f"{share}% of a service that was not there before", "spec", "predictor", "canaryTrafficPercent"
        )


@rule(
    "HM304",
    "A retention that Knative refuses",
    on=Service,
    outcome=Outcome.never_ready,
    reason="rejected: scale-to-zero-pod-retention-period is a Go duration from 0 to 1h",
    fix="write it as 30m or 1800s, 1h at most",
    link=KNATIVE + "pkg/apis/autoscaling/annotation_validation.go",
)
def retention(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateLastPodRetention, WindowMax."""
    for path, holder in [(("metadata",), mapping(service.data, "metadata")), *service.predictors]:
        for key, value in mapping(holder, "annotations").items():
            if _RETENTION.match(str(key)) and service.mode != "Standard":
                seconds = go_duration(value)
                if seconds is None or not 0 <= seconds <= 3600:
                    yield service.hit(f"{str(key).partition('/')[2]}: {value}", *path, "annotations", key)


@rule(
    "HM305",
    "A timeout longer than Knative allows",
    on=Service,
    outcome=Outcome.never_ready,
    reason="rejected: a revision's timeout is at most max-revision-timeout-seconds, 600 unless the cluster says more",
    fix="write timeout: 600 or less, in seconds, under the component, or raise max-revision-timeout-seconds in ConfigMap knative-serving/config-defaults",
    link=KNATIVE + "pkg/apis/config/defaults.go",
)
def timeout(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """revision_validation.go, validateTimeoutSeconds; DefaultMaxRevisionTimeoutSeconds."""
    most = revision_limit(world)
    for path, component in service.components:
        found = integer(component, "timeout")
        if found is not None and (found < 0 or (service.mode == "Knative" and found > most)):
            hit = service.hit(f"timeout {found}s, at most {most}s", *path, "timeout")
            yield hit.mended(
                f"write timeout: 0 or more, in seconds, under {'.'.join(map(str, path))}" if found < 0 else ""
            )


@rule(
    "HM306",
    "A request limit that Knative refuses",
    on=Service,
    outcome=Outcome.never_ready,
    reason="rejected: containerConcurrency is 0 to container-concurrency-max-limit, 1000 unless the cluster says more",
    fix="write containerConcurrency: 0 (no limit) to 1000 under the component, or raise its max-limit in ConfigMap knative-serving/config-defaults",
    link=KNATIVE + "pkg/apis/config/defaults.go",
)
def concurrency(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """metadata_validation.go, ValidateContainerConcurrency; DefaultMaxRevisionContainerConcurrency."""
    most = limit(world, "container-concurrency-max-limit", 1000)
    for path, component in service.components:
        found = integer(component, "containerConcurrency")
        if found is not None and (found < 0 or (service.mode == "Knative" and found > most)):
            hit = service.hit(f"containerConcurrency {found}, at most {most}", *path, "containerConcurrency")
            # KServe's own webhook compares with 0, and with nothing above.
            yield hit.ends(Outcome.refused) if found < 0 else hit


@rule(
    "HM313",
    "A share that is none",
    on=Service,
    reason="KServe takes it; Knative refuses it at the next version, when there is another to share with: a target has 0 to 100 percent",
    fix="write a whole number from 0 to 100",
    link=KNATIVE + "pkg/apis/serving/v1/route_validation.go",
)
def share(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """route_validation.go: the targets' percents sum to 100, none below 0."""
    for path, component in service.components:
        found = integer(component, "canaryTrafficPercent")
        if service.mode != "Standard" and found is not None and not 0 <= found <= 100:
            yield service.hit(f"canaryTrafficPercent: {found}", *path, "canaryTrafficPercent")


@rule(
    "HM314",
    "A deployment strategy in Knative mode",
    on=Service,
    outcome=Outcome.refused,
    reason="rejected: customizing deploymentStrategy is only supported for raw deployment mode",
    fix="remove it: Knative starts a revision whole before it gets traffic",
    link=KSERVE + "pkg/apis/serving/v1beta1/inference_service_validation.go",
)
def strategy(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateScalingKPACompExtension."""
    for path, component in service.components:
        by_hpa = text(service.annotations, "autoscaling.knative.dev/class").startswith("hpa.")
        if service.written != "Standard" and component.get("deploymentStrategy") is not None and not by_hpa:
            yield service.hit("deploymentStrategy outside Standard mode", *path, "deploymentStrategy")
