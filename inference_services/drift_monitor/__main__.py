"""`python -m inference_services.drift_monitor`: exit 0 after SIGTERM, 2 for a wrong option, 3 for a refused model."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from hallmark.declaration import serving_config
from inference_services.drift_monitor import options, reference
from inference_services.drift_monitor.app import app
from inference_services.drift_monitor.follow import Following
from inference_services.drift_monitor.monitor import Monitor
from inference_services.drift_monitor.options import MonitorOptions
from inference_services.drift_monitor.reference import Reference
from inference_services.drift_monitor.served import ServedCounts
from inference_services.process import ended


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    # uvicorn raises the signal again once all is closed; this makes that a clean end.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _end)
    chosen = options.read()
    return ended(lambda: _serve(chosen), at=f"cannot listen on {chosen.host}")


def _serve(chosen: MonitorOptions) -> int:
    uvicorn.run(
        application(chosen),
        host=chosen.host,
        port=chosen.port,
        ws="none",
        proxy_headers=False,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=5,
        limit_concurrency=256,
    )
    return 0


def application(chosen: MonitorOptions) -> ASGIApp:
    """The ASGI application: the monitor of the folder given, or of the model that its server publishes; errors as in `build`."""

    def make(monitor: Monitor) -> Starlette:
        return app(monitor, state_file=chosen.state, remote_events=chosen.remote_events)

    if chosen.published is None:
        return make(build(chosen))
    serving_config.read(chosen.config)  # Its faults are reported now, and not when the first model comes.
    return Following(chosen.published, lambda found: make(build(chosen, found)), digest=chosen.digest)


def build(chosen: MonitorOptions, found: Reference | None = None) -> Monitor:
    """The monitor that the options describe, of the model `found` or of the folder given; `ModelRefused` or `DeclarationError`."""
    if found is None:
        assert chosen.model_dir is not None  # noqa: S101 - one of the two is required
        found = reference.read(chosen.model_dir, expected=chosen.digest)
    monitor = Monitor(found, serving_config.read(chosen.config).drift, service=chosen.service)
    if chosen.runtime_metrics_url:
        monitor.served = ServedCounts(chosen.runtime_metrics_url, captured=monitor.captured)
    return monitor


def _end(signum: int, frame: object) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
