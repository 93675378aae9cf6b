"""A model folder: what export writes, the registry keeps and the model server loads.

model.onnx        the serving model, self-contained (no external data)
signature.json    fields in, outputs out, labels, domain
features.py       the domain's feature code, as it was when the model was trained
serving.py        the domain's answer code, where it has one
weights.safetensors or booster.txt   the trained model in its own form
profile.json      reference profile for drift;  reference.parquet  a sample of it for reports
embeddings.safetensors  a sample of the reference's embeddings, where features.py says how to embed
assets            files that signature.json names and `load` of features.py or serving.py reads, such as tokenizer.json
manifest.json     sha256 of each of the above; its own sha256 is the model's digest
model_card.json     where it comes from; names the digest, so it is not part of it
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from hallmark.errors import ModelRefused
from hallmark.features.encoding import Input
from hallmark.features.fields import Field, Output
from hallmark.files import digest_file
from hallmark.tasks.kinds import Task

MANIFEST = "manifest.json"
MODEL_CARD = "model_card.json"
PARTS = frozenset({"model.onnx", "signature.json", "profile.json", "reference.parquet", "embeddings.safetensors"})
"""Files that the platform itself writes and reads, which no asset may be."""
DATA = frozenset({".json", ".safetensors", ".txt", ".parquet", ".model", ".npy"})
"""What an asset may be: bytes that are read as data, never run; .model is sentencepiece's vocabulary."""
ALLOWED = frozenset({".onnx", ".py"}) | DATA
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}$")
_CHUNK = 1 << 20


class Signature(BaseModel):
    """What a model takes and gives: raw `fields` in (`features.py` encodes them), `outputs` of the ONNX model out.

    task: what the first output is and what it is worth, with the classes bound; of a folder from before there were tasks,
    the one of two that there was.
    inputs: those of the ONNX model, which `encode` gives; one float32 "input" where a model says nothing of them.
    assets: names of files in the folder that the model's own code reads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str
    task: Task
    fields: tuple[Field, ...]
    outputs: tuple[Output, ...]
    labels: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = (Input(),)
    assets: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _of_one_input(cls, given: Any) -> Any:
        """Signatures of before `inputs` named the one input that there was."""
        if isinstance(given, dict) and "onnx_input" in given:
            given = dict(given)
            given.setdefault("inputs", ({"name": given.pop("onnx_input")},))
            given.pop("onnx_input", None)
        return given

    @field_validator("inputs")
    @classmethod
    def _named(cls, inputs: tuple[Input, ...]) -> tuple[Input, ...]:
        if not inputs or len({each.name for each in inputs}) < len(inputs):
            raise ValueError("expected at least one input, each of another name")
        return inputs

    @field_validator("assets")
    @classmethod
    def _data(cls, assets: tuple[str, ...]) -> tuple[str, ...]:
        for name in assets:
            reserved = name in PARTS | {MANIFEST, MODEL_CARD}
            if not _NAME.match(name) or Path(name).suffix not in DATA or reserved or assets.count(name) > 1:
                raise ValueError(
                    f"expected assets to be names once each ending in {', '.join(sorted(DATA))}, got {name}"
                )
        return assets

    @model_validator(mode="before")
    @classmethod
    def _before_tasks(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "task" not in raw:
            labels = raw.get("labels") or ()
            return {**raw, "task": {"kind": "multiclass", "labels": labels} if labels else {"kind": "binary"}}
        return raw


def seal(folder: Path) -> str:
    """Write the manifest over what is in `folder` and give the model's digest."""
    files = {
        path.name: digest_file(path) for path in sorted(folder.iterdir()) if path.name not in (MANIFEST, MODEL_CARD)
    }
    text = json.dumps({"files": files}, indent=2, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return digest_file(folder / MANIFEST)


def verify(folder: Path, *, expected: str | None = None) -> str:
    """Check every byte of `folder` against its manifest, and that against `expected`; give the digest or `ModelRefused`."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise ModelRefused(
            f"{folder.name} is not a model folder", expected=f"a {MANIFEST}", got="none", fix="register the model again"
        )
    digest = digest_file(manifest)
    if expected and digest != expected:
        raise ModelRefused(
            "the model is not the one that was released",
            expected=expected,
            got=digest,
            fix="restore the folder from the registry",
        )
    for name, recorded in _entries(manifest).items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise ModelRefused(
                f"{name} of the model is missing",
                expected=recorded,
                got="no such file",
                fix="restore the folder from the registry",
            )
        got = digest_file(path)
        if got != recorded:
            raise ModelRefused(
                f"{name} of the model was changed",
                expected=recorded,
                got=got,
                fix="restore the folder from the registry",
            )
    known = set(_entries(manifest)) | {MANIFEST, MODEL_CARD}
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in known)
    if strangers:
        raise ModelRefused(
            f"{strangers[0]} is in the model folder and not in its manifest",
            expected="only registered files",
            got=", ".join(strangers),
            fix="remove it",
        )
    return digest


def signature(folder: Path) -> Signature:
    """The signature of a verified model folder."""
    try:
        return Signature.model_validate_json((folder / "signature.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelRefused(
            "the model's signature.json cannot be read", expected="a Signature", got=str(error).splitlines()[0]
        ) from error


def _entries(manifest: Path) -> dict[str, str]:
    try:
        files = json.loads(manifest.read_bytes())["files"]
        entries = {str(name): str(digest) for name, digest in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelRefused(
            "the model's manifest cannot be read", expected='{"files": {name: sha256}}', got=type(error).__name__
        ) from error
    for name in entries:
        if not _NAME.match(name) or Path(name).suffix not in ALLOWED:
            raise ModelRefused(
                f"{name!r} is never loaded",
                expected=f"a plain name ending in {', '.join(sorted(ALLOWED))}",
                got=repr(name),
            )
    return entries
