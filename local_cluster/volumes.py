"""Volumes: a `pvc://` storageUri as a folder on this machine, and ConfigMaps as files."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hallmark.errors import HallmarkError
from hallmark.files import replace

MODELS_MOUNT = "/mnt/models"
_URI = re.compile(r"^([a-z][a-z0-9+.-]*)://([^/]*)/?(.*)$")
_KEY = re.compile(r"^[-._a-zA-Z0-9]{1,253}$")


class VolumeError(HallmarkError):
    """A storageUri or a volume that cannot be had here."""


def parse(uri: object) -> tuple[str, tuple[str, ...]]:
    """The volume and the path within it that a `pvc://volume/path` names."""
    match = _URI.match(uri) if isinstance(uri, str) else None
    if match is None:
        raise VolumeError(f"expected pvc://models/…, got {uri!r}")
    scheme, volume, path = match.groups()
    if scheme != "pvc":
        raise VolumeError(
            f"the local cluster reads pvc:// only, got {scheme}://; on EKS the storage initializer reads others"
        )
    if volume != "models":
        raise VolumeError(f"the volume here is called 'models', got {volume!r}")
    parts = tuple(part for part in path.split("/") if part)
    if not parts or any(part in (".", "..") or "\\" in part or "\0" in part for part in parts):
        raise VolumeError(f"expected a path within the volume, got {uri!r}")
    return volume, parts


def folder(uri: str, models: Path) -> Path:
    """The folder under `models` that `uri` names; `VolumeError` where it is absent, or a link leads out of the volume."""
    _, parts = parse(uri)
    root = models.resolve()
    path = root.joinpath(*parts)
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise VolumeError(f"{uri} is not there: the volume has no folder {'/'.join(parts)!r}") from error
    if not real.is_relative_to(root) or real == root:
        raise VolumeError(f"{uri} leads out of the volume")
    if not real.is_dir():
        raise VolumeError(f"{uri} is not a folder")
    return real


def materialise(volume: dict[str, Any], at: Path, config_map: Callable[[str], dict[str, Any] | None]) -> None:
    """Write the files of a pod's volume to `at`; `VolumeError` where its ConfigMap is missing and not optional."""
    at.mkdir(parents=True, exist_ok=True)
    if "emptyDir" in volume:
        return
    source = volume.get("configMap")
    if not isinstance(source, dict):
        kind = next((key for key in volume if key != "name"), "nothing")
        raise VolumeError(f"volume {volume.get('name')!r}: only configMap and emptyDir are served here, got {kind}")
    found = config_map(str(source.get("name")))
    if found is None:
        if source.get("optional"):
            return
        raise VolumeError(f"volume {volume.get('name')!r}: configmap {source.get('name')!r} not found")
    files = _files(found)
    wanted = {item["key"]: item["path"] for item in source.get("items") or []} or {key: key for key in files}
    for key, name in wanted.items():
        if key in files and _KEY.match(str(name)) and name not in (".", ".."):
            _write(at / name, files[key])
    for stale in at.iterdir():
        if stale.name not in wanted.values():
            stale.unlink()


def _files(found: dict[str, Any]) -> dict[str, str]:
    files = {str(k): str(v) for k, v in (found.get("data") or {}).items()}
    for key, value in (found.get("binaryData") or {}).items():
        try:
            files[str(key)] = base64.b64decode(value).decode("utf-8", "surrogateescape")
        except (binascii.Error, TypeError, ValueError) as error:
            raise VolumeError(f"configmap key {key!r} is not base64") from error
    return files


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8", errors="surrogateescape") != text:
        replace(path, text)
