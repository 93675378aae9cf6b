"""One worker: loads the verified model, opens its port, and on a signal drops readiness, drains and ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import signal
import socket
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hallmark import __version__
from hallmark.artifacts.bundle import Bundle
from hallmark.declaration import timeouts
from hallmark.declaration.serving_config import FeatureReading, ServingConfig
from inference_services.capture import queue as capturing
from inference_services.protocol import v2
from inference_services.runtime import lookup
from inference_services.runtime.access import AccessLog
from inference_services.runtime.cache import Cache
from inference_services.runtime.executor import Executor
from inference_services.runtime.metrics import Metrics
from inference_services.runtime.model import Model
from inference_services.runtime.observer import PhotoObserver
from inference_services.runtime.rest import Rest
from inference_services.runtime.rpc import Rpc, refused
from inference_services.runtime.service import Service
from inference_services.transport import http1, workers
from inference_services.transport.client import WORKER
from inference_services.transport.endpoint import ConnectionLimits, Endpoint, Listener, close_listener, listen

if TYPE_CHECKING:
    from inference_services.runtime.items import LiveItems

_SWITCH = 0.001
"""Seconds after which the model's thread lets the loop have the interpreter, so that health and refusals do not wait."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerOptions:
    """Settings of a server: its serving config, and what flags and the platform's environment say of this process."""

    name: str
    config: ServingConfig
    host: str = "0.0.0.0"  # noqa: S104  a pod's containers are reached from outside it
    http_port: int = 8080
    version: str = ""
    revision: str = ""
    namespace: str = ""
    variant: str = ""
    capture_url: str = ""
    feature_store: str = ""
    changes: str = ""
    collection: str = ""
    state: Path | None = None

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the server that answers, for the metrics and the access log."""
        variant = self.variant or self.revision
        return {"model": self.name, "version": self.version, "revision": self.revision, "variant": variant}


def run(options: ServerOptions, bundle: Bundle, *, count: int) -> int:
    """Serve on `count` workers that share the port, until a signal; the exit code, or OSError where it is taken.

    A model that answers with items has one: its searches leave the interpreter to others, and each worker would hold the index again.
    """
    if bundle.signature.retriever is not None:
        count = 1
    opened = listen(options.host, options.http_port)
    metrics = Metrics(options.labels, workers=count)

    async def work(worker: int) -> None:
        metrics.attach(worker)
        await _serve(options, bundle, opened=opened, metrics=metrics)

    return workers.run(work, count=count)


async def _serve(options: ServerOptions, bundle: Bundle, *, opened: socket.socket, metrics: Metrics) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sys.setswitchinterval(_SWITCH)
    service = _service(options, bundle, metrics)
    if service.lookup is not None:
        await service.lookup.warm()
    endpoint = _endpoint(options, metrics)
    limit = endpoint.limits.body
    calls = Rpc(service, version=__version__, limit=limit)
    rest = Rest(service, version=__version__, limit=limit, calls=calls)
    adapter = partial(http1.Http1Connection, endpoint, rest, refused=refused, unread=calls.unread)
    listener = Listener(opened, adapter, fewest=partial(metrics.fewest, "connections", ""))
    gc.collect()
    gc.freeze()  # else looking through all that was loaded stops every request for some 70 ms, again and again
    listener.open()
    watch = loop.create_task(endpoint.watch())
    _log.info("serving %s version %s, %s", options.name, options.version or "-", service.model.digest)
    await stop.wait()
    _log.info("draining")
    service.draining = True
    endpoint.draining = True
    limits = options.config.timeouts
    ends = loop.time() + limits.end
    await asyncio.sleep(limits.notice)
    drained = ends - timeouts.FLUSH
    await close_listener(opened, timeout=drained - loop.time())
    listener.close()
    await endpoint.drain(timeout=drained - loop.time())
    watch.cancel()
    service.close()
    await asyncio.sleep(0)  # what the model's thread had left to note
    if service.capture is not None:
        await service.capture.close(timeout=max(0.0, ends - loop.time()))
    if service.access is not None:
        service.access.close()
    _log.info("stopped")


def _service(options: ServerOptions, bundle: Bundle, metrics: Metrics) -> Service:
    """The model, and what its traffic passes through."""
    config = options.config
    signature = bundle.signature
    reading = config.features or FeatureReading()
    model: Executor
    items: LiveItems | None = None
    if signature.retriever is None:
        model = Model(options.name, bundle, version=options.version, provider=config.provider)
    else:
        from inference_services.runtime import searching

        looked = lookup.of_items(signature, options.feature_store, reading=reading) if signature.item_views else None
        model, items = searching.opened(options, bundle, metrics=metrics, looked=looked)
    cache = Cache(config.cache, digest=model.digest, metrics=metrics) if config.cache else None
    service = Service(model, metrics=metrics, config=config, cache=cache)
    service.items = items
    if signature.request_views:
        service.lookup = lookup.connected(signature, options.feature_store, reading=reading)
    if config.access_log:
        service.access = AccessLog(sys.stdout.buffer, share=config.access_log, origin=options.labels, metrics=metrics)
    if options.capture_url:
        namespace = options.namespace or model.signature.domain
        variant = options.variant or options.revision
        origin = capturing.Origin(options.name, namespace, options.revision, variant)
        service.capture = capturing.Capture(
            options.capture_url,
            origin=origin,
            metrics=metrics,
            limits=config.capture,
            texts=partial(v2.texts, model.schema),
        )
        service.capture.start()
        if config.capture.batch > 1:  # KServe's own form holds requests as they came
            service.observer = PhotoObserver.of(bundle, model.schema)
    return service


def _endpoint(options: ServerOptions, metrics: Metrics) -> Endpoint:
    lines = [f"x-hallmark-revision: {options.revision}", f"x-hallmark-model-version: {options.version}"]
    if metrics.workers > 1:
        lines.append(f"{WORKER.decode()}: {secrets.token_hex(4)}")
    return Endpoint(
        limits=ConnectionLimits(),
        headers="".join(f"{line}\r\n" for line in lines).encode("ascii", "replace"),
        counted=lambda change: metrics.add("connections", "", change),
    )
