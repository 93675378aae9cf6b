"""One worker: loads the verified model, opens REST and gRPC, and on a signal drops readiness, drains and ends."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from hallmark import __version__
from hallmark.artifacts.bundle import Bundle
from inference_services.capture import queue as capturing
from inference_services.protocol.schema import Limits as ModelLimits
from inference_services.runtime.access import AccessLog
from inference_services.runtime.cache import Cache
from inference_services.runtime.metrics import PROTOCOLS, Metrics
from inference_services.runtime.model import Model
from inference_services.runtime.rest import Rest
from inference_services.runtime.service import Load, Service
from inference_services.transport import http1, workers
from inference_services.transport.endpoint import Door, Endpoint, Limits, close_door, listen

_SWITCH = 0.001
"""Seconds after which the model's thread lets the loop have the interpreter, so that health and refusals do not wait."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Settings of a server: from flags, and from what the platform puts in its environment.

    grace:  seconds after a signal in which new requests are still answered, while gateways learn of it.
    drain:  seconds at most for what is under way then.
    cache:  bytes of answers kept for records that come again; 0 for none.
    access: share of answers that are logged, 0..1.
    """

    name: str
    host: str = "0.0.0.0"  # noqa: S104  a pod's containers are reached from outside it
    http_port: int = 8080
    grpc_port: int | None = 8081
    version: str = ""
    revision: str = ""
    namespace: str = ""
    variant: str = ""
    provider: str = "cpu"
    capture_url: str = ""
    grace: float = 0.5
    drain: float = 30.0
    cache: int = 0
    access: float = 0.0
    load: Load = field(default_factory=Load)
    limits: Limits = field(default_factory=Limits)
    model_limits: ModelLimits = field(default_factory=ModelLimits)
    capture: capturing.Limits = field(default_factory=capturing.Limits)

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the server that answers, for the metrics and the access log."""
        variant = self.variant or self.revision
        return {"model": self.name, "version": self.version, "revision": self.revision, "variant": variant}


def run(options: Options, bundle: Bundle, *, count: int) -> int:
    """Serve on `count` workers that share the ports, until a signal; the exit code, or OSError where a port is taken."""
    listeners = [listen(options.host, port) for port in (options.http_port, options.grpc_port) if port is not None]
    metrics = Metrics(options.labels, workers=count)

    async def work(worker: int) -> None:
        metrics.attach(worker)
        await _serve(options, bundle, listeners=listeners, metrics=metrics)

    return workers.run(work, count=count)


async def _serve(options: Options, bundle: Bundle, *, listeners: list[socket.socket], metrics: Metrics) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sys.setswitchinterval(_SWITCH)
    service = _service(options, bundle, metrics)
    endpoints = [_endpoint(options, metrics, protocol) for protocol, _ in zip(PROTOCOLS, listeners, strict=False)]
    faces: list[Callable[[], asyncio.Protocol]] = [
        partial(http1.Connection, endpoints[0], Rest(service, version=__version__))
    ]
    if len(listeners) > 1:
        from inference_services.runtime.rpc import Rpc
        from inference_services.transport.http2 import Connection

        metadata = {"x-hallmark-revision": options.revision, "x-hallmark-model-version": options.version}
        faces.append(partial(Connection, endpoints[1], Rpc(service, version=__version__), metadata=metadata))
    doors = [
        Door(listener, face, fewest=partial(metrics.fewest, "connections", protocol))
        for listener, face, protocol in zip(listeners, faces, PROTOCOLS, strict=False)
    ]
    for door in reversed(doors):  # REST last: it says who is ready
        door.open()
    watches = [loop.create_task(one.watch()) for one in endpoints]
    _log.info("serving %s version %s, %s", options.name, options.version or "-", service.model.digest)
    await stop.wait()
    _log.info("draining")
    service.draining = True
    for one in endpoints:
        one.draining = True
    await asyncio.sleep(options.grace)
    await asyncio.gather(*(close_door(listener, timeout=options.drain) for listener in listeners))
    for door in doors:
        door.close()
    await asyncio.gather(*(one.drain(timeout=options.drain) for one in endpoints))
    for watch in watches:
        watch.cancel()
    service.close()
    if service.capture is not None:
        await service.capture.close()
    if service.access is not None:
        service.access.close()
    _log.info("stopped")


def _service(options: Options, bundle: Bundle, metrics: Metrics) -> Service:
    """The model, and what its traffic passes through."""
    model = Model(options.name, bundle, version=options.version, provider=options.provider, limits=options.model_limits)
    cache = Cache(options.cache, digest=model.digest, metrics=metrics) if options.cache else None
    service = Service(model, metrics=metrics, load=options.load, cache=cache)
    if options.access:
        service.access = AccessLog(sys.stdout.buffer, share=options.access, origin=options.labels, metrics=metrics)
    if options.capture_url:
        namespace = options.namespace or model.signature.domain
        variant = options.variant or options.revision
        origin = capturing.Origin(options.name, namespace, options.revision, variant)
        service.capture = capturing.Capture(options.capture_url, origin=origin, metrics=metrics, limits=options.capture)
        service.capture.start()
    return service


def _endpoint(options: Options, metrics: Metrics, protocol: str) -> Endpoint:
    lines = [f"x-hallmark-revision: {options.revision}", f"x-hallmark-model-version: {options.version}"]
    return Endpoint(
        limits=options.limits,
        headers="".join(f"{line}\r\n" for line in lines).encode("ascii", "replace"),
        counted=lambda change: metrics.add("connections", protocol, change),
    )
