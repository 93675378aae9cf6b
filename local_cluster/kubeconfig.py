"""The kubeconfig of the local cluster."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import yaml

from local_cluster.access import ApiAccess, write_private

NAME = "hallmark"


def write(path: Path, *, server: str, access: ApiAccess, namespace: str = "default") -> None:
    """Write a kubeconfig for `server` (https://127.0.0.1:<port>), readable by its user only."""
    authority = b64encode(access.certificate.read_bytes()).decode("ascii")
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": NAME, "user": {"token": access.token.get_secret_value()}}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": namespace}}],
        "current-context": NAME,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, yaml.safe_dump(content, sort_keys=False).encode())
