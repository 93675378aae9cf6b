"""Captured requests and responses as they come: CloudEvents, many exchanges as columns from our runtime, or KServe's logger format."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inference_services.capture import exchanges
from inference_services.capture.exchanges import Exchanges

_TYPES: dict[object, Literal["request", "response"]] = {
    "org.kubeflow.serving.inference.request": "request",
    "org.kubeflow.serving.inference.response": "response",
}
_VARIANT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
_TRACE = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_EXCHANGE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
MOST_EVENTS = 4096
"""In one batch."""


class Malformed(ValueError):
    """An event that is not what it should be; answered with 400 and counted."""


class Unknown(Malformed):
    """An event of ours in a form that is not known here: the server is of another release than the monitor."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The server whose exchanges an event has."""

    service: str
    namespace: str
    variant: str


@dataclass(frozen=True, slots=True)
class Captured:
    """An event of columns."""

    origin: Origin
    exchanges: Exchanges


@dataclass(frozen=True, slots=True)
class Event:
    """One half of an exchange: `id` is the runtime's own and the same on both halves; `data` is a V2 JSON object.

    trace:    the request's W3C trace id, 32 hex digits; "" where it came with none.
    exchange: the gateway's own id of the request, "" where there was none;  shadow: was it a mirrored copy?
    request:  a hash of the client's id.
    """

    id: str
    half: Literal["request", "response"]
    service: str
    namespace: str
    variant: str
    data: dict[str, Any]
    trace: str = ""
    exchange: str = ""
    shadow: bool = False
    request: str = ""


def columns(headers: Mapping[str, str], body: bytes) -> Captured | None:
    """The event of columns in one call, None for another; `Malformed` where it cannot be read, `Unknown` for one of another release."""
    kind = headers.get("ce-type", "")
    if not kind.startswith(exchanges.TYPES):
        return None
    if kind != exchanges.TYPE:
        raise Unknown(f"expected {exchanges.TYPE}, got {kind[:64]}: release server and monitor together")
    origin = _origin({name.removeprefix("ce-"): value for name, value in headers.items() if name.startswith("ce-")})
    try:
        return Captured(origin, exchanges.read(body))
    except ValueError as error:
        raise Malformed(f"expected exchanges: {error}") from error


def parse(headers: Mapping[str, str], body: bytes) -> tuple[list[Event], list[str]]:
    """The events of one call in KServe's logger format, and for each that is malformed what is wrong with it; `Malformed` where nothing can be read."""
    media = headers.get("content-type", "").split(";")[0].strip().lower()
    if media == "application/cloudevents-batch+json":
        return _batch(_json(body))
    if media == "application/cloudevents+json":
        return [_structured(_json(body))], []
    if "ce-type" not in headers:
        raise Malformed("expected a CloudEvent: ce- headers, or application/cloudevents-batch+json")
    attributes = {name.removeprefix("ce-"): value for name, value in headers.items() if name.startswith("ce-")}
    return [_event(attributes, _json(body))], []


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"expected JSON: {type(error).__name__}") from error


def _batch(items: object) -> tuple[list[Event], list[str]]:
    if not isinstance(items, list) or len(items) > MOST_EVENTS:
        raise Malformed(f"expected a JSON array of at most {MOST_EVENTS} events")
    good, bad = [], []
    for item in items:
        try:
            good.append(_structured(item))
        except Malformed as error:
            bad.append(str(error))
    return good, bad


def _structured(item: object) -> Event:
    if not isinstance(item, dict):
        raise Malformed("expected an event to be a JSON object")
    return _event(item, item.get("data"))


def _event(attributes: Mapping[str, Any], data: object) -> Event:
    half = _TYPES.get(kind) if isinstance(kind := attributes.get("type"), str) else None
    if half is None:
        raise Malformed("expected type org.kubeflow.serving.inference.request or .response")
    origin = _origin(attributes)
    if not isinstance(data, dict):
        raise Malformed("expected the data to be a JSON object")
    trace = _TRACE.match(_text(attributes, "traceparent"))
    return Event(
        _text(attributes, "id"),
        half,
        origin.service,
        origin.namespace,
        origin.variant,
        data,
        trace[1] if trace else "",
        exchange if _EXCHANGE.match(exchange := _text(attributes, "exchangeid")) else "",
        attributes.get("shadow") in ("1", 1),
        _text(attributes, "requestid")[:64],
    )


def _origin(attributes: Mapping[str, Any]) -> Origin:
    if attributes.get("specversion") != "1.0" or not _text(attributes, "source"):
        raise Malformed("expected specversion 1.0 and a source")
    if not 0 < len(_text(attributes, "id")) <= 256:
        raise Malformed("expected an id of 1 to 256 characters")
    variant = _text(attributes, "revision") or _text(attributes, "endpoint") or "default"
    if not _VARIANT.match(variant):
        raise Malformed("expected a revision or endpoint such as fraud-predictor-00002")
    return Origin(_text(attributes, "inferenceservicename"), _text(attributes, "namespace"), variant)


def _text(attributes: Mapping[str, Any], name: str) -> str:
    value = attributes.get(name, "")
    return value if isinstance(value, str) else ""
