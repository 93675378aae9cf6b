"""The monitor's command line and configuration file."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hallmark.names import MONITOR_PORT


@dataclass(frozen=True)
class MonitorOptions:
    """Settings of one monitor."""

    model_dir: Path | None
    published: Path | None
    port: int
    host: str
    config: Path | None
    remote_events: bool
    service: str | None
    runtime_metrics_url: str | None
    state: Path | None
    digest: str | None


def read(arguments: Sequence[str] | None = None) -> MonitorOptions:
    """The options given, and the digest that HALLMARK_MODEL_DIGEST asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m inference_services.drift_monitor",
        description="Keep a window of captured traffic per variant and report whether it has drifted.",
    )
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--model-dir", type=Path, help="the served model's folder")
    model.add_argument("--published", type=Path, help="where the model's server publishes it; waited for, and followed")
    parser.add_argument("--port", type=int, default=MONITOR_PORT, help="%(default)s")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s); a pod needs 0.0.0.0")
    parser.add_argument("--remote-events", action="store_true", help="take events from other hosts too")
    parser.add_argument(
        "--config", type=Path, help="the serving config, of which it reads the drift section; its defaults without one"
    )
    parser.add_argument("--service", help="the InferenceService whose events count; default: the model's domain")
    parser.add_argument("--runtime-metrics-url", help="the runtime's /metrics, to count what was not captured")
    parser.add_argument("--state", type=Path, help="file that keeps the windows over a restart")
    found = parser.parse_args(arguments)
    return MonitorOptions(**vars(found), digest=os.environ.get("HALLMARK_MODEL_DIGEST") or None)
