"""A model folder in memory: every file is read once, and what is loaded is what was hashed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from hallmark.artifacts.folder import ALLOWED, BESIDE, INDEX, INDEXED, MANIFEST, listed, loadable
from hallmark.artifacts.signature import Signature
from hallmark.errors import ModelRefused
from hallmark.features import code
from hallmark.features.encoding import Features, loaded
from hallmark.features.fields import Output

SERVED = frozenset(
    {
        "model.onnx",
        "encoder.onnx",
        "items.onnx",
        "ranker.onnx",
        "signature.json",
        "features.py",
        "encoder.py",
        "serving.py",
    }
)
EMBEDDINGS = "embeddings.safetensors"
"""A sample of the reference as `embed` sees it."""
WATCHED = frozenset({"signature.json", "features.py", "profile.json", EMBEDDINGS})
"""Files of a model folder that a server and a drift monitor read, beside the assets that its signature names.

Embeddings, serving.py, and models beside model.onnx only where it has them.
"""
_CHUNK = 1 << 20
_RESTORE = "restore the folder from the registry"


@dataclass(frozen=True)
class Bundle:
    """The verified bytes of a model folder, those that were asked for; `manifest` is what the digest is of.

    index: the folder of its index, where it has one: every byte was checked, and is read again where it is opened,
           since an index may be larger than what is to be held twice.
    """

    digest: str
    files: Mapping[str, bytes]
    manifest: bytes = b""
    index: Path | None = None

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each file by the manifest."""
        return _entries(self.manifest)

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the model, from signature.json."""
        try:
            return Signature.model_validate_json(self.files["signature.json"])
        except (KeyError, ValidationError) as error:
            raise ModelRefused(
                "the model's signature.json cannot be read", expected="a Signature", got=str(error).splitlines()[0]
            ) from error

    @property
    def assets(self) -> dict[str, bytes]:
        """The files that the model's own code reads, by name."""
        return {name: self.file(name) for name in self.signature.assets}

    @property
    def features(self) -> Features:
        """The model's feature code, run from the verified bytes, with its assets."""
        return self.features_of("features.py")

    def features_of(self, source: str) -> Features:
        """The same of `source`: features.py, or encoder.py where the encoder is another domain's."""
        return Features(self.code(source), inputs=self.signature.inputs, assets=self.assets)

    def only(self, names: frozenset[str]) -> Bundle:
        """The same model with the files of `names` and its assets, and no others."""
        kept = names.union(self.signature.assets)
        return replace(self, files={name: data for name, data in self.files.items() if name in kept})

    def code(self, name: str) -> ModuleType:
        """The module in `name` (features.py, serving.py), run from the verified bytes."""
        return code.run(self.file(name), name)

    def file(self, name: str) -> bytes:
        """The bytes of a file, or `ModelRefused` where the model has none of that name."""
        if name not in self.files:
            raise ModelRefused(f"the model has no {name}", expected=name, got="no such file", fix=_RESTORE)
        return self.files[name]

    @property
    def answer(self) -> tuple[Callable[..., Mapping[str, Any]] | None, tuple[Output, ...]]:
        """The domain's `answer` of outputs and labels and the outputs it adds, where the model has a serving.py.

        One with a `load` is also given what that makes of the assets.
        """
        if "serving.py" not in self.files:
            return None, ()
        module = self.code("serving.py")
        if not hasattr(module, "answer"):  # it orders what the index finds, and adds nothing
            return None, ()
        more = loaded(module, self.assets)
        answer: Callable[..., Mapping[str, Any]] = module.answer
        return (lambda outputs, labels: answer(outputs, labels, *more)) if more else answer, tuple(module.OUTPUTS)


def read(folder: Path, *, expected: str | None, keep: frozenset[str] = SERVED, whole: bool = True) -> Bundle:
    """All bytes of the folder checked against its manifest and that against `expected`, and those of `keep`; or `ModelRefused`.

    Where signature.json is kept, the assets that it names are too.
    whole: with False the folder may hold less than its manifest names, as long as what is kept is there.
    """
    if not folder.is_dir():
        raise ModelRefused("there is no model folder", expected=f"a folder with a {MANIFEST}", got=str(folder))
    digest, manifest = _read(folder, MANIFEST, keep=True)
    if expected and digest != expected:
        raise ModelRefused("the model is not the one that was released", expected=expected, got=digest, fix=_RESTORE)
    entries = _entries(manifest)
    strangers = sorted(listed(folder).keys() - set(entries) - BESIDE)
    if strangers:
        raise ModelRefused(
            f"{strangers[0]} is in the model folder and not in its manifest", got=", ".join(strangers), fix="remove it"
        )
    files: dict[str, bytes] = {}
    indexed = whole and any(name.startswith(f"{INDEX}/") for name in entries)
    bundle = Bundle(digest, files, manifest, folder / INDEX if indexed else None)
    for name in sorted(entries, key=lambda name: (name != "signature.json", name)):
        if not whole and name not in keep:
            continue
        got, data = _read(folder, name, keep=name in keep)
        if got != entries[name]:
            raise ModelRefused(f"{name} of the model was changed", expected=entries[name], got=got, fix=_RESTORE)
        if name in keep:
            files[name] = data
        if name == "signature.json" and name in keep:
            keep = keep.union(bundle.signature.assets)
    if "signature.json" in files:
        _ = bundle.assets  # each is there, or the model is refused
    if "model.onnx" in keep:
        _ = bundle.file("model.onnx")
    for name in sorted(name for name in files if name.endswith(".onnx")):
        self_contained(files[name])
    return bundle


def self_contained(model: bytes) -> None:
    """Refuse an ONNX model whose weights lie in other files, before anything that could open them sees it."""
    if model[4:8] == b"ORTM":
        raise ModelRefused("model.onnx is not ONNX", expected="an ONNX model", got="onnxruntime's own format")
    try:
        fields = [number for number, _ in _messages(memoryview(model), _WHERE["model"], "model")]
    except (IndexError, ValueError) as error:
        raise ModelRefused("model.onnx cannot be read", expected="an ONNX model", got=str(error)) from error
    if 7 not in fields:
        raise ModelRefused("model.onnx has no graph", expected="an ONNX model", got=f"fields {sorted(set(fields))}")


# Where tensors can hide in a ModelProto: message -> field number -> message. Anything else is skipped over.
_WHERE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}


def _messages(data: memoryview, where: dict[int, str], kind: str, depth: int = 0) -> Iterator[tuple[int, int]]:
    """Field numbers and wire types of a protobuf message, walking into every tensor on the way."""
    if depth > 64:
        raise ValueError("graphs nested too deep")
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            if kind == "tensor" and number == 14 and value != 0:
                raise _outside()
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            length, at = _varint(data, at)
            if kind == "tensor" and number == 13:
                raise _outside()
            if number in where:
                inner = where[number]
                for _ in _messages(data[at : at + length], _WHERE[inner], inner, depth + 1):
                    pass
            at += length
        else:
            raise ValueError(f"wire type {wire}")
        if at > len(data):
            raise ValueError("cut off")
        yield number, wire


def _outside() -> ModelRefused:
    return ModelRefused(
        "model.onnx keeps weights in other files",
        expected="a self-contained ONNX model",
        got="external data",
        fix="export it with external_data=False",
    )


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number without end")


def _entries(manifest: bytes) -> dict[str, str]:
    try:
        entries = {str(name): str(digest) for name, digest in json.loads(manifest)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelRefused(
            "the model's manifest cannot be read", expected='{"files": {name: sha256}}', got=type(error).__name__
        ) from error
    for name in entries:
        if not loadable(name):
            kinds = f"{', '.join(sorted(ALLOWED))}, or in {INDEX}/ {', '.join(sorted(INDEXED))}"
            raise ModelRefused(f"{name!r} is never loaded", expected=f"a plain name ending in {kinds}")
    return entries


def _read(folder: Path, name: str, *, keep: bool) -> tuple[str, bytes]:
    """The digest of a regular file and, where they are kept, the very bytes it was made from; a link is not followed."""
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError("not a regular file")
            sha, parts = hashlib.sha256(), []
            while part := stream.read(_CHUNK):
                sha.update(part)
                if keep:
                    parts.append(part)
            return f"sha256:{sha.hexdigest()}", b"".join(parts)
    except OSError as error:
        raise ModelRefused(
            f"{name} of the model is missing", expected="a regular file", got=error.strerror or str(error), fix=_RESTORE
        ) from error
