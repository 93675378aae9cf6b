"""Knative mode: what the webhook of Knative Serving rejects of how a service scales: its annotations, target and limit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from hallmark.lint.cluster import knative_config
from hallmark.lint.objects import LintContext, Service
from hallmark.lint.reading import go_duration, integer, mapping, quantity, text
from hallmark.lint.rules import KNATIVE, Outcome, RuleMatch, rule

_VALIDATION = KNATIVE + "pkg/apis/autoscaling/annotation_validation.go"
_REVISION = KNATIVE + "pkg/apis/serving/v1/revision_validation.go"
_GROUP, _QUEUE, _SERVING = "autoscaling.knative.dev/", "queue.sidecar.serving.knative.dev/", "serving.knative.dev/"
_KPA, _HPA = "kpa.autoscaling.knative.dev", "hpa.autoscaling.knative.dev"
_FLOAT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def _number(low: float, high: float = float("inf"), *, also: float | None = None) -> Callable[[str], bool]:
    def fits(value: str) -> bool:
        found = float(value) if _FLOAT.fullmatch(value) else None
        return found is not None and (low <= found <= high or found == also)

    return fits


def _whole(low: int) -> Callable[[str], bool]:
    return lambda value: re.fullmatch(r"[+-]?\d{1,10}", value) is not None and low <= int(value) < 2**31


def _time(low: float, high: float = float("inf"), *, seconds: bool = True) -> Callable[[str], bool]:
    def fits(value: str) -> bool:
        found = go_duration(value)
        return found is not None and low <= found <= high and (not seconds or found == int(found))

    return fits


def _size(value: str) -> bool:
    return quantity(value) is not None


_FITS: dict[str, tuple[Callable[[str], bool], str]] = {
    _GROUP + "window": (_time(6, 3600), "whole seconds from 6s to 1h"),
    _GROUP + "scale-down-delay": (_time(0, 3600), "whole seconds from 0s to 1h"),
    _GROUP + "target": (_number(0.01), "a number of 0.01 or more"),
    _GROUP + "target-utilization-percentage": (_number(1, 100), "1 to 100"),
    _GROUP + "target-burst-capacity": (_number(0, also=-1), "a number of 0 or more, or -1"),
    _GROUP + "panic-window-percentage": (_number(1, 100), "1 to 100"),
    _GROUP + "panic-threshold-percentage": (_number(110, 1000), "110 to 1000"),
    _GROUP + "initial-scale": (_whole(1), "a whole number of 1 or more"),
    _GROUP + "activation-scale": (_whole(2), "a whole number of 2 or more"),
    _SERVING + "progress-deadline": (_time(0), "whole seconds"),
    _QUEUE + "resource-percentage": (_number(0.1, 100), "0.1 to 100"),
    **{
        f"{_QUEUE}{resource}-resource-{kind}": (_size, "a quantity")
        for resource in ("cpu", "memory", "ephemeral-storage")
        for kind in ("request", "limit")
    },
}
_OLD = {
    _GROUP + "targetUtilizationPercentage": _GROUP + "target-utilization-percentage",
    _GROUP + "targetBurstCapacity": _GROUP + "target-burst-capacity",
    _GROUP + "initialScale": _GROUP + "initial-scale",
    _GROUP + "scaleDownDelay": _GROUP + "scale-down-delay",
    _GROUP + "panicWindowPercentage": _GROUP + "panic-window-percentage",
    _GROUP + "panicThresholdPercentage": _GROUP + "panic-threshold-percentage",
}
"""Keys in their older spelling."""


@rule(
    "HM315",
    "An annotation of scaling that Knative refuses",
    on=Service,
    outcome=Outcome.never_ready,
    reason="rejected: KServe hands the annotation to the revision, whose webhook reads its value",
    fix="write a value that the message allows, as text",
    link=_VALIDATION,
)
def annotation(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """ValidateAnnotations, validateQueueSidecarResourceAnnotations, validateProgressDeadlineAnnotation. Retention is HM304's."""
    if service.mode == "Standard":
        return
    for path, holder in [(("metadata",), mapping(service.data, "metadata")), *service.predictors]:
        annotations = mapping(holder, "annotations")
        for key, value in annotations.items():
            if not isinstance(value, str):
                continue  # HM802
            fits, wanted = _FITS.get(_OLD.get(key, key), (None, ""))
            if fits is not None and not fits(value):
                yield service.hit(f"{key}: {value}, expected {wanted}", *path, "annotations", key)
        yield from _words(service, annotations, (*path, "annotations"))


def _words(service: Service, annotations: dict[str, Any], path: tuple[str | int, ...]) -> Iterator[RuleMatch]:
    class_, metric = annotations.get(_GROUP + "class"), annotations.get(_GROUP + "metric")
    if isinstance(class_, str) and class_.endswith("autoscaling.knative.dev") and class_ not in (_KPA, _HPA):
        yield service.hit(f"there is no autoscaler {class_}", *path, _GROUP + "class")
    known = {_KPA: ("concurrency", "rps")}.get(class_ or _KPA)
    if isinstance(metric, str) and (metric not in known if known is not None else (class_ == _HPA and not metric)):
        yield service.hit(f"metric {metric!r} of {class_ or _KPA}", *path, _GROUP + "metric")


@rule(
    "HM316",
    "A scale target below 1",
    on=Service,
    outcome=Outcome.never_ready,
    reason="KServe takes it and writes it into what scales, where it is refused: Knative's annotation target, or a HorizontalPodAutoscaler",
    fix="write scaleTarget: 1 or more under the component: requests at once of a pod; percent of its cpu or memory with that scaleMetric",
    link=_VALIDATION,
)
def target(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateFloats, TargetMin; autoscaling/v2, validateMetricTarget. What KServe's own webhook refuses is HM126's."""
    class_ = text(service.annotations, "serving.kserve.io/autoscalerClass")
    scales = service.mode == "Knative" or (service.mode == "Standard" and class_ == "")
    for path, component in service.components:
        found = integer(component, "scaleTarget")
        refused = service.mode == "Knative" and text(component, "scaleMetric") == "rps"
        if scales and found is not None and found < 1 and not refused:
            yield service.hit(f"scaleTarget {found}", *path, "scaleTarget")


@rule(
    "HM317",
    "More replicas than the cluster allows",
    on=Service,
    outcome=Outcome.never_ready,
    reason="rejected: KServe writes maxReplicas as the annotation max-scale, which is max-scale-limit at most",
    fix="lower maxReplicas, or raise max-scale-limit where the platform configures Knative's autoscaler",
    link=_VALIDATION,
)
def limit(service: Service, world: LintContext) -> Iterator[RuleMatch]:
    """validateMaxScaleWithinLimit; a limit of 0, as Knative comes, is none."""
    written = str(knative_config(world, "autoscaler").get("max-scale-limit", 0))
    most = int(written) if written.isdecimal() else 0
    for path, component in service.components:
        found = integer(component, "maxReplicas")
        if service.mode == "Knative" and most and found is not None and found > most:
            yield service.hit(f"maxReplicas {found}, at most {most}", *path, "maxReplicas")
