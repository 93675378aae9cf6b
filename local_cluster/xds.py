"""Building blocks of Envoy resources: type names, addresses, durations, headers, and where it watches for files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]

TYPE = "type.googleapis.com/"


def discovery(resources: list[Json]) -> tuple[str, str]:
    """A discovery response with `resources`: its version, which is its content's digest, and its text."""
    body = json.dumps(resources, sort_keys=True)
    version = hashlib.sha256(body.encode()).hexdigest()[:16]
    return version, json.dumps({"version_info": version, "resources": resources}, indent=1, sort_keys=True)


def header(name: str, value: str) -> Json:
    """A header that is set, whatever was there before."""
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def watched(folder: Path, name: str) -> Json:
    """The file `name` that is renamed into `folder`."""
    return {
        "path_config_source": {"path": str(folder / name), "watched_directory": {"path": str(folder)}},
        "resource_api_version": "V3",
    }


def socket(host: str, port: int) -> Json:
    """A TCP address."""
    return {"socket_address": {"address": host, "port_value": port}}


def seconds(value: float) -> str:
    """A duration as protobuf's JSON has it."""
    return f"{value:.3f}s"
