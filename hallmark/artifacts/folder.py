"""A model folder: what export writes, the registry keeps and the model server loads.

model.onnx        the serving model, self-contained (no external data)
signature.json    fields in, outputs out, labels, domain
features.py       the domain's feature code, as it was when the model was trained
serving.py        the domain's answer code, where it has one
weights.safetensors or booster.txt   the trained model in its own form
profile.json      reference profile for drift;  reference.parquet  a sample of it for reports
embeddings.safetensors  a sample of the reference's embeddings, where features.py says how to embed
index/            where it searches: vectors, ids, filter columns, words, and unit.json, which names them (hallmark.retrieval.unit)
assets            files that signature.json names and `load` of features.py or serving.py reads, such as tokenizer.json
manifest.json     sha256 of each of the above; its own sha256 is the model's digest
model_card.json     where it comes from; names the digest, so it is not part of it
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import field_validator, model_validator

from hallmark.declaration.feature_view import FeatureView
from hallmark.declaration.source import Datatype
from hallmark.features.encoding import Input
from hallmark.features.fields import Field, Output
from hallmark.files import digest_file
from hallmark.section import Frozen
from hallmark.tasks.kinds import Task

MANIFEST = "manifest.json"
MODEL_CARD = "model_card.json"
FORMER_CARD = "passport.json"
"""The model card of a version from before it was called so: it lies in the folder, and no part of the digest, as one does."""
INDEX = "index"
"""The one folder in a model folder; its files are named index/… in the manifest."""
PARTS = frozenset({"model.onnx", "signature.json", "profile.json", "reference.parquet", "embeddings.safetensors"})
"""Files that the platform itself writes and reads, which no asset may be."""
DATA = frozenset({".json", ".safetensors", ".txt", ".parquet", ".model", ".npy"})
"""Allowed kinds of asset: bytes that are read as data and never run; .model is sentencepiece's vocabulary."""
ALLOWED = frozenset({".onnx", ".py"}) | DATA
INDEXED = frozenset({".json", ".npy", ".npz", ".faiss", ".parquet"})
"""Kinds of file of an index."""
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}$")


class ViewUse(Frozen):
    """A feature view as a model reads it, whole, so that its server needs nothing else to compute the values.

    entity:  the field by which callers say whom a record is about.
    fields:  names of the model's fields that are columns of the view, in the view's order.
    types:   of the columns of the source that the view reads, as its contract had them.
    """

    view: FeatureView
    entity: Field
    fields: tuple[str, ...]
    types: dict[str, Datatype]


class Signature(Frozen):
    """Inputs and outputs of a model: raw `fields` in (`features.py` encodes them), `outputs` of the ONNX model out.

    views: those that give some of the fields; callers send the others, and each view's entity.

    task: what the first output is and what it is worth, with the classes bound; of a folder from before there were tasks,
    the one of two that there was.
    inputs: those of the ONNX model, which `encode` gives; one float32 "input" where a model says nothing of them.
    assets: names of files in the folder that the model's own code reads.
    """

    domain: str
    task: Task
    fields: tuple[Field, ...]
    outputs: tuple[Output, ...]
    labels: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = (Input(),)
    assets: tuple[str, ...] = ()
    views: tuple[ViewUse, ...] = ()

    @property
    def sent(self) -> tuple[Field, ...]:
        """The fields that callers send."""
        return sent(self.fields, self.views)

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


def sent(fields: Sequence[Field], views: Sequence[ViewUse]) -> tuple[Field, ...]:
    """The fields that callers of a model send: entities of its views that are no fields themselves, and what no view gives."""
    given = {name for use in views for name in use.fields}
    own = {field.name: field for field in fields if field.name not in given}
    return tuple({**{use.entity.name: use.entity for use in views}, **own}.values())


def seal(folder: Path) -> str:
    """Write the manifest over what is in `folder` and give the model's digest."""
    files = {
        path.name: digest_file(path)
        for path in sorted(folder.iterdir())
        if path.name not in (MANIFEST, MODEL_CARD, INDEX)
    }
    if (folder / INDEX).is_dir():
        files |= {f"{INDEX}/{path.name}": digest_file(path) for path in sorted((folder / INDEX).iterdir())}
    text = json.dumps({"files": files}, indent=2, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return digest_file(folder / MANIFEST)


def verify(folder: Path, *, expected: str | None = None) -> str:
    """Check every byte of `folder` against its manifest, and that against `expected`; give the digest or `ModelRefused`."""
    from hallmark.artifacts import bundle  # which reads what this module describes

    return bundle.read(folder, expected=expected, keep=frozenset()).digest


def signature(folder: Path) -> Signature:
    """The signature of a sealed model folder, every byte of which is checked."""
    from hallmark.artifacts import bundle

    return bundle.read(folder, expected=None, keep=frozenset({"signature.json"})).signature
