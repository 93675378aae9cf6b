"""One worker: loads the verified model, opens REST and gRPC, and on a signal drops readiness, drains and ends."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from hallmark import __version__
from inference_services.runtime import capture as capturing
from inference_services.runtime import http
from inference_services.runtime.bundle import Bundle
from inference_services.runtime.metrics import Metrics
from inference_services.runtime.model import Limits as ModelLimits
from inference_services.runtime.model import Model
from inference_services.runtime.rest import Rest
from inference_services.runtime.service import Load, Service

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What a server is told: by flags, and by what the platform puts in its environment.

    grace:  seconds after a signal in which new requests are still answered, while gateways learn of it.
    drain:  seconds at most for what is under way then.
    """

    name: str
    host: str = "0.0.0.0"  # noqa: S104  a pod's containers are reached from outside it
    http_port: int = 8080
    grpc_port: int | None = 8081
    version: str = ""
    revision: str = ""
    namespace: str = ""
    endpoint: str = ""
    provider: str = "cpu"
    capture_url: str = ""
    grace: float = 0.5
    drain: float = 30.0
    load: Load = field(default_factory=Load)
    limits: http.Limits = field(default_factory=http.Limits)
    model_limits: ModelLimits = field(default_factory=ModelLimits)
    capture: capturing.Limits = field(default_factory=capturing.Limits)

    @property
    def headers(self) -> bytes:
        """What every answer says of who gave it."""
        lines = [f"x-hallmark-revision: {self.revision}", f"x-hallmark-model-version: {self.version}"]
        return "".join(f"{line}\r\n" for line in lines).encode("ascii", "replace")


def listen(options: Options) -> socket.socket:
    """The REST port, bound and not yet open: it takes connections once a worker is ready to answer them."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((options.host, options.http_port))
    listener.setblocking(False)
    return listener


async def serve(
    options: Options,
    bundle: Bundle,
    *,
    listener: socket.socket,
    metrics: Metrics,
    started: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    model = Model(options.name, bundle, version=options.version, provider=options.provider, limits=options.model_limits)
    service = Service(model, metrics=metrics, load=options.load)
    if options.capture_url:
        origin = capturing.Origin(
            options.name,
            options.namespace or model.signature.domain,
            options.revision,
            options.endpoint or options.revision,
        )
        service.capture = capturing.Capture(
            options.capture_url, model=model, origin=origin, metrics=metrics, limits=options.capture
        )
        service.capture.start()
    endpoint = http.Endpoint(
        Rest(service, version=__version__),
        limits=options.limits,
        headers=options.headers,
        counted=lambda change: metrics.add("connections", amount=change),
    )
    watch = loop.create_task(endpoint.watch())
    rpc = None
    if options.grpc_port is not None:
        from inference_services.runtime.rpc import Rpc

        host = f"[{options.host}]" if ":" in options.host else options.host
        rpc = Rpc(service, version=__version__, revision=options.revision).server(
            f"{host}:{options.grpc_port}", limits=options.limits, shared=metrics.workers > 1
        )
        await rpc.start()
    server = await loop.create_server(lambda: http.Connection(endpoint), sock=listener, backlog=1024)
    _log.info("serving %s version %s, %s", options.name, options.version or "-", model.digest)
    if started is not None:
        started()
    await stop.wait()
    _log.info("draining")
    service.draining = endpoint.draining = True
    await asyncio.sleep(options.grace)
    await http.close_door(listener, timeout=options.drain)
    server.close()
    await asyncio.gather(endpoint.drain(timeout=options.drain), *([rpc.stop(options.drain)] if rpc else []))
    watch.cancel()
    service.close()
    if service.capture is not None:
        await service.capture.close()
    _log.info("stopped")
