"""A model folder: what export writes, the registry keeps and the model server loads.

model.onnx        the serving model, self-contained (no external data)
signature.json    fields in, outputs out, labels, domain
features.py       the domain's feature code, as it was when the model was trained
serving.py        the domain's answer code, where it has one
weights.safetensors or booster.txt   the trained model in its own form
profile.json      reference profile for drift;  reference.parquet  a sample of it for reports
embeddings.safetensors  a sample of the reference's embeddings, where features.py says how to embed
manifest.json     sha256 of each of the above; its own sha256 is the model's digest
passport.json     where it comes from; names the digest, so it is not part of it
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from hallmark.errors import ModelRefused
from hallmark.features.fields import Datatype, Field

MANIFEST = "manifest.json"
PASSPORT = "passport.json"
ALLOWED = frozenset({".onnx", ".json", ".py", ".safetensors", ".txt", ".parquet"})
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}$")
_CHUNK = 1 << 20


class Output(BaseModel):
    """One output tensor; `shape` is per record, `minimum` and `maximum` are what a sane answer keeps to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    datatype: Datatype
    shape: tuple[int, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


class Signature(BaseModel):
    """What a model takes and gives: raw `fields` in (`features.py` encodes them), `outputs` of the ONNX model out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str
    fields: tuple[Field, ...]
    outputs: tuple[Output, ...]
    labels: tuple[str, ...] = ()
    onnx_input: str = "input"


def digest_file(path: Path) -> str:
    """`sha256:` and the hex digest of a file's bytes."""
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            sha.update(chunk)
    return f"sha256:{sha.hexdigest()}"


def seal(folder: Path) -> str:
    """Write the manifest over what is in `folder` and give the model's digest."""
    files = {path.name: digest_file(path) for path in sorted(folder.iterdir()) if path.name not in (MANIFEST, PASSPORT)}
    text = json.dumps({"files": files}, indent=2, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return digest_file(folder / MANIFEST)


def verify(folder: Path, *, expected: str | None = None) -> str:
    """Check every byte of `folder` against its manifest, and that against `expected`; give the digest or `ModelRefused`."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise ModelRefused(
            f"{folder.name} is not a model folder", expected=f"a {MANIFEST}", came="none", do="register the model again"
        )
    digest = digest_file(manifest)
    if expected and digest != expected:
        raise ModelRefused(
            "the model is not the one that was released",
            expected=expected,
            came=digest,
            do="restore the folder from the registry",
        )
    for name, recorded in _entries(manifest).items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise ModelRefused(
                f"{name} of the model is missing",
                expected=recorded,
                came="no such file",
                do="restore the folder from the registry",
            )
        came = digest_file(path)
        if came != recorded:
            raise ModelRefused(
                f"{name} of the model was changed",
                expected=recorded,
                came=came,
                do="restore the folder from the registry",
            )
    known = set(_entries(manifest)) | {MANIFEST, PASSPORT}
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in known)
    if strangers:
        raise ModelRefused(
            f"{strangers[0]} is in the model folder and not in its manifest",
            expected="only registered files",
            came=", ".join(strangers),
            do="remove it",
        )
    return digest


def signature(folder: Path) -> Signature:
    """The signature of a verified model folder."""
    try:
        return Signature.model_validate_json((folder / "signature.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelRefused(
            "the model's signature.json cannot be read", expected="a Signature", came=str(error).splitlines()[0]
        ) from error


def _entries(manifest: Path) -> dict[str, str]:
    try:
        files = json.loads(manifest.read_bytes())["files"]
        entries = {str(name): str(digest) for name, digest in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelRefused(
            "the model's manifest cannot be read", expected='{"files": {name: sha256}}', came=type(error).__name__
        ) from error
    for name in entries:
        if not _NAME.match(name) or Path(name).suffix not in ALLOWED:
            raise ModelRefused(
                f"{name!r} is never loaded",
                expected=f"a plain name ending in {', '.join(sorted(ALLOWED))}",
                came=repr(name),
            )
    return entries
