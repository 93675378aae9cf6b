"""Knative mode: what the webhook of Knative Serving rejects of a revision's containers: images, names, ports, probes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hallmark.lint.objects import LintContext
from hallmark.lint.pods import Container, Pod
from hallmark.lint.reading import dig, integer, listing, mapping, text
from hallmark.lint.rules import KNATIVE, Outcome, RuleMatch, rule

_POD = KNATIVE + "pkg/apis/serving/k8s_validation.go"
_HANDLERS = ("httpGet", "tcpSocket", "exec", "grpc")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::\d+)?/)?(?=[a-z0-9._/-]{2})[a-z0-9._-]+(?:/[a-z0-9._-]+)*(?::\w[\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-fA-F]{32,})?"
)


@rule(
    "HM318",
    "A container without an image or a name of its own",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="rejected: missing field image, failed to parse image reference, or duplicate container name",
    fix="name an image as registry/name:tag, and give each container another name than the runtime's have",
    link=_POD,
)
def image_and_name(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """validate, validateContainers; of a Deployment the API server says the same. A runtime is judged in its own file."""
    if not pod.in_knative and pod.service is None:
        return
    seen: set[str] = set()
    for container in pod.containers:
        own = container.layers[0][0] is pod.owner.document
        found = container.data.get("image")
        if own and not found:
            yield container.hit(f"{container.name or 'a container'} has no image", "image")
        elif isinstance(found, str) and found and not _IMAGE.fullmatch(found):
            yield container.hit(f"{found!r} is no image", "image")
        if container.name and container.name in seen:
            yield container.hit(f"{container.name} is another container's name too", "name")
        seen.add(container.name)


@rule(
    "HM319",
    "A port that Knative refuses",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="rejected: the name of a port says what is spoken (http1, h2c, or none), and requests come by TCP",
    fix="leave the name out, or write http1 (h2c for gRPC)",
    link=_POD,
)
def port_name(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """validateContainerPorts, validPortNames."""
    for container in pod.running if pod.in_knative else ():
        for index, port in enumerate(listing(container.data, "ports")):
            name, protocol, number = text(port, "name"), text(port, "protocol"), integer(port, "containerPort")
            if name not in ("", "h2c", "http1"):
                yield container.hit(f"the port's name {name!r}", "ports", index, "name")
            if protocol not in ("", "TCP"):
                yield container.hit(f"the port's protocol {protocol}", "ports", index, "protocol")
            if number is not None and not 0 <= number <= 65535:
                yield container.hit(f"port {number}", "ports", index, "containerPort")


@rule(
    "HM322",
    "A port at which the model server does not answer",
    on=Pod,
    reason="requests go to the declared port, in HTTP/2 where its name is h2c: ours answers REST and gRPC in HTTP/1.1, at its --http-port",
    fix="leave ports out: the runtime declares the one that there is, and the gateway brings gRPC to it",
    link=KNATIVE + "docs/runtime-contract.md",
)
def answering_port(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """inference_services/runtime; docs/decisions/0022."""
    for container in pod.running:
        words = [str(each) for key in ("command", "args") for each in listing(container.data, key)]
        if "inference_services.runtime" not in words:
            continue
        given = [each.partition("=")[2] for each in words if each.startswith("--http-port=")]
        for index, port in enumerate(listing(container.data, "ports")):
            number, name = integer(port, "containerPort"), text(port, "name")
            if str(number) != (given or ["8080"])[-1]:
                said = f"port {number}: the server is at {(given or ['8080'])[-1]}"
                hit = container.hit(said, "ports", index, "containerPort")
                # KServe makes a Service of all ports, and those of more than one have names.
                yield hit if pod.in_knative else hit.ends(Outcome.never_ready)
            elif name == "h2c":
                yield container.hit("the port's name h2c", "ports", index, "name")


@rule(
    "HM320",
    "A probe that Knative refuses",
    on=Pod,
    outcome=Outcome.never_ready,
    reason="rejected: a probe has one handler (the runtime's counts), at the container's port; without periodSeconds it has no limits of its own",
    fix="write the handler that the runtime has, with another path; set periodSeconds beside failureThreshold and timeoutSeconds",
    link=_POD,
)
def probes(pod: Pod, world: LintContext) -> Iterator[RuleMatch]:
    """validateProbe, validateReadinessProbe, revision_defaults.go; a model's probe is merged into the runtime's."""
    if not pod.in_knative:
        return
    for container in pod.running:
        if len(pod.running) > 1 and not listing(container.data, "ports"):
            continue  # HM310
        for key in _PROBES:
            probe = container.data.get(key)
            if isinstance(probe, dict):
                yield from _probe(container, key, probe)


def _probe(container: Container, key: str, probe: dict[str, Any]) -> Iterator[RuleMatch]:
    handlers = [each for each in _HANDLERS if probe.get(each) is not None]
    if len(handlers) > 1 or (not handlers and key != "readinessProbe"):
        yield container.hit(f"{key} has {' and '.join(handlers) or 'no handler'}", key, *handlers[1:2])
    name = text(container.data, "ports", 0, "name") or "http"
    for each in ("httpGet", "tcpSocket"):
        port = dig(probe, each, "port")
        if isinstance(port, str) and port and port != name:
            yield container.hit(f"{key} asks at port {port!r}, the container's is {name!r}", key, each, "port")
    if key != "readinessProbe":
        return
    for field in ("periodSeconds", "initialDelaySeconds", "successThreshold", "failureThreshold", "timeoutSeconds"):
        if (integer(probe, field) or 0) < 0:
            yield container.hit(f"{field} {probe[field]}", key, field)
    if not integer(probe, "periodSeconds"):
        for field in ("failureThreshold", "timeoutSeconds"):
            if integer(mapping(probe), field):
                yield container.hit(f"{field} without periodSeconds", key, field)
