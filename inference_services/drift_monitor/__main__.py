"""`python -m inference_services.drift_monitor`: exit 0 after SIGTERM, 2 for a wrong option, 3 for a refused model."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

import uvicorn

from hallmark.errors import HallmarkError
from inference_services.drift_monitor import options, reference
from inference_services.drift_monitor.app import app
from inference_services.drift_monitor.monitor import Monitor
from inference_services.drift_monitor.options import Options
from inference_services.drift_monitor.served import Served


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    # uvicorn raises the signal again once all is closed; this makes that a clean end.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _end)
    chosen = options.read()
    try:
        monitor = build(chosen)
    except HallmarkError as error:
        sys.stderr.write(f"drift monitor: {error}\n")
        return error.exit_code
    uvicorn.run(
        app(monitor, state_file=chosen.state, remote_events=chosen.remote_events),
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


def build(chosen: Options) -> Monitor:
    """The monitor that the options describe; `ModelRefused` or `DeclarationError`."""
    found = reference.read(chosen.model_dir, expected=chosen.digest)
    monitor = Monitor(found, options.drift(chosen.config), service=chosen.service)
    if chosen.runtime_metrics_url:
        monitor.served = Served(chosen.runtime_metrics_url, captured=monitor.captured)
    return monitor


def _end(signum: int, frame: object) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
