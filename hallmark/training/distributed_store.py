"""Files in the domain's part of the bucket, between the nodes of a distributed training and the step that waits for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from hallmark import names
from hallmark.errors import DeclarationError, HallmarkError, ModelRefused
from hallmark.training import cache

MODEL, SEAL, PROGRESS = "model", "sealed.json", "progress.json"


def beside(address: str, domain: str, *parts: str) -> str:
    """A folder in the domain's part of the store that `address` is in: s3://bucket/fraud/… for any s3://bucket/…"""
    found = urlparse(address)
    if found.scheme == "file":
        root = Path(found.path).parent.as_posix()
    elif found.scheme == "s3" and found.netloc:
        root = ""
    else:
        raise DeclarationError(
            "the nodes of a distributed training cannot reach the artifacts of this run",
            expected="a pipeline root such as " + names.storage(domain, "pipelines"),
            got=address,
            fix="set defaultPipelineRoot in the tenant's ConfigMap kfp-launcher",
        )
    path = "/".join([root, names.prefix(domain).rstrip("/"), *parts]).lstrip("/")
    return f"{found.scheme}://{found.netloc}/{path}"


def sealed(place: str) -> bool:
    """True if a whole model lies there: its seal is written last."""
    return _read(f"{place}/{SEAL}") is not None


def put(folder: Path, place: str) -> None:
    """Put the model of `folder` there, and then the seal, with its digest."""
    from pyarrow import fs

    system, path = _at(place)
    system.create_dir(f"{path}/{MODEL}", recursive=True)
    fs.copy_files(str(folder), f"{path}/{MODEL}", destination_filesystem=system)
    _write(f"{place}/{SEAL}", {"digest": cache.digest(folder)})


def fetch(place: str, folder: Path) -> Path:
    """The model from there in `folder`, checked against its seal."""
    from pyarrow import fs

    seal = _read(f"{place}/{SEAL}")
    if seal is None:
        raise HallmarkError("the distributed training left no model", expected=f"{place}/{SEAL}", got="no such file")
    system, path = _at(place)
    folder.mkdir(parents=True)
    fs.copy_files(f"{path}/{MODEL}", str(folder), source_filesystem=system)
    got = cache.digest(folder)
    if got != seal.get("digest"):
        raise ModelRefused(
            f"the model at {place} is not the one that was trained",
            expected=str(seal.get("digest")),
            got=got,
            fix=f"remove {place} and train again",
        )
    return folder


def bring(address: str, path: Path) -> Path:
    """The file at `address` as `path`."""
    from pyarrow import fs

    system, found = _at(address)
    fs.copy_files(found, str(path), source_filesystem=system)
    return path


def tell(place: str, done: int, total: int, note: str) -> None:
    """Leave word of how far it is."""
    _write(f"{place}/{PROGRESS}", {"done": done, "total": total, "note": note})


def progress(place: str) -> Callable[[], str]:
    """Last reported progress, as a line; empty where nothing was reported."""

    def read() -> str:
        told = _read(f"{place}/{PROGRESS}")
        return f"{told.get('done')}/{told.get('total')} {told.get('note', '')}".strip() if told else ""

    return read


def _at(address: str) -> tuple[Any, str]:
    from pyarrow import fs

    system, path = fs.FileSystem.from_uri(address)
    return system, path


def _write(address: str, value: dict[str, Any]) -> None:
    system, path = _at(address)
    system.create_dir(path.rpartition("/")[0], recursive=True)
    with system.open_output_stream(path) as stream:
        stream.write(json.dumps(value).encode())


def _read(address: str) -> dict[str, Any] | None:
    """The JSON object there; none where there is none, or half of one."""
    system, path = _at(address)
    try:
        with system.open_input_stream(path) as stream:
            found = json.loads(stream.readall())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None
