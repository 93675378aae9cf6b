"""A model folder: what export writes, the registry keeps and the model server loads.

model.onnx        the serving model, self-contained (no external data)
signature.json    fields in, outputs out, labels, domain
features.py       the domain's feature code, as it was when the model was trained
serving.py        the domain's answer code, where it has one
weights.safetensors or booster.txt   the trained model in its own form
profile.json      reference profile for drift;  reference.parquet  a sample of it for reports
embeddings.safetensors  a sample of the reference's embeddings, where features.py says how to embed
encoder.onnx, items.onnx, ranker.onnx   of a model that answers with items (retriever.py)
index/            its index: vectors, ids, columns, words, and unit.json, which says what they were made of
references.parquet   pictures of the items in it, of a model that answers references beside a score (references.py)
assets            files that signature.json names and `load` of features.py or serving.py reads, such as tokenizer.json
manifest.json     sha256 of each of the above; its own sha256 is the model's digest
model_card.json     where it comes from; names the digest, so it is not part of it
rows_seen.npy     the rows it has learnt from (rows_seen.py), for later comparisons alone; no part of it either
MLmodel, hallmark.zip, requirements.txt, python_env.yaml   by which MLflow loads it (registry/mlmodel.py); no part of it either
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field as PydanticField
from pydantic import field_validator, model_validator

from hallmark.artifacts.references import PICTURES, References
from hallmark.artifacts.retriever import INDEX as INDEX
from hallmark.artifacts.retriever import Retriever
from hallmark.declaration.feature_view import FeatureView
from hallmark.declaration.source import Datatype
from hallmark.features.encoding import Input
from hallmark.features.fields import Field, Output
from hallmark.files import digest_file
from hallmark.policy.served import ServedChoice
from hallmark.section import Frozen
from hallmark.tasks.kinds import Task

MANIFEST = "manifest.json"
MODEL_CARD = "model_card.json"
ROWS_SEEN = "rows_seen.npy"
"""Of the rows that the version has learnt from; its digest is in the model card."""
FORMER_CARD = "passport.json"
"""The model card of a version from before it was called so: it lies in the folder, and no part of the digest, as one does."""
MLMODEL, CODE, REQUIREMENTS, PYTHON_ENV = "MLmodel", "hallmark.zip", "requirements.txt", "python_env.yaml"
"""How MLflow loads the model as a function, Hallmark's code for that, and what both need installed."""
LEFT_BY_MLFLOW = "registered_model_meta"
"""Written into the folder by MLflow itself, by which name it was loaded, also where the folder is the registry's own."""
BESIDE = frozenset(
    {MANIFEST, MODEL_CARD, ROWS_SEEN, FORMER_CARD, MLMODEL, CODE, REQUIREMENTS, PYTHON_ENV, LEFT_BY_MLFLOW}
)
"""Files of a model folder that its manifest does not name."""
PARTS = frozenset(
    {"model.onnx", "signature.json", "profile.json", "reference.parquet", "embeddings.safetensors", PICTURES}
)
"""Files that the platform itself writes and reads, which no asset may be."""
DATA = frozenset({".json", ".safetensors", ".txt", ".parquet", ".model", ".npy"})
"""Allowed kinds of asset: bytes that are read as data and never run; .model is sentencepiece's vocabulary."""
ALLOWED = frozenset({".onnx", ".py"}) | DATA
INDEXED = frozenset({".json", ".npy", ".npz", ".faiss", ".parquet"})
"""Allowed kinds of file in `index/`."""
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}$")


class ViewUse(Frozen):
    """A feature view as a model reads it, whole, so that its server needs nothing else to compute the values.

    entity:  the field by which callers say whom a record is about.
    fields:  names of the model's fields that are columns of the view, in the view's order.
    types:   of the columns of the source that the view reads, as its contract had them, and of its SQL by the text.
    """

    view: FeatureView
    entity: Field
    fields: tuple[str, ...]
    types: dict[str, Datatype]


class Signature(Frozen):
    """Inputs and outputs of a model: raw `fields` in (`features.py` encodes them), `outputs` of the ONNX model out.

    views: those that give some of the fields; callers send the others, and each view's entity.
    retriever: how a request becomes a list of items, of a model folder with an index.
    references: which items of that index are answered beside the outputs, of a model that has one for that.
    choice: how a server chooses by the first output, where it is an uplift and the domain declares a policy.

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
    retriever: Retriever | None = PydanticField(default=None, exclude_if=lambda value: value is None)
    references: References | None = PydanticField(default=None, exclude_if=lambda value: value is None)
    choice: ServedChoice | None = PydanticField(default=None, exclude_if=lambda value: value is None)

    @property
    def asked(self) -> tuple[Field, ...]:
        """The fields of a request with what views give of it: the model's own, or where items are retrieved the retriever's."""
        if self.retriever is None:
            return self.fields
        given = {name for use in self.request_views for name in use.fields}
        return (*self.retriever.asked, *(field for field in self.retriever.looked_up if field.name in given))

    @property
    def request_views(self) -> tuple[ViewUse, ...]:
        """The views of an entity that is in the request; the others are of the items that are retrieved for it."""
        return tuple(use for use in self.views if self.retriever is None or use.entity.name != self.retriever.corpus.id)

    @property
    def item_views(self) -> tuple[ViewUse, ...]:
        """The views of items, by the corpus's id."""
        return tuple(use for use in self.views if use not in self.request_views)

    @property
    def answered(self) -> tuple[Output, ...]:
        """The outputs of an answer, before serving.py adds its own."""
        if self.retriever is not None:
            return self.retriever.outputs
        return self.outputs if self.references is None else (*self.outputs, self.references.output)

    @property
    def sent(self) -> tuple[Field, ...]:
        """The fields that callers send."""
        return sent(self.asked, self.request_views, self.choice)

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
            reserved = name in PARTS | BESIDE
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


def sent(fields: Sequence[Field], views: Sequence[ViewUse], choice: ServedChoice | None = None) -> tuple[Field, ...]:
    """The fields that callers of a model send: whom a choice is about, entities of its views that are no fields themselves, and what no view gives."""
    given = {name for use in views for name in use.fields}
    own = {field.name: field for field in fields if field.name not in given}
    whom = {} if choice is None else {choice.entity: choice.whom}
    return tuple({**whom, **{use.entity.name: use.entity for use in views}, **own}.values())


def seal(folder: Path) -> str:
    """Write the manifest over what is in `folder` and give the model's digest."""
    files = {name: digest_file(path) for name, path in sorted(listed(folder).items()) if name not in BESIDE}
    text = json.dumps({"files": files}, indent=2, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return digest_file(folder / MANIFEST)


def listed(folder: Path) -> dict[str, Path]:
    """All that lies in a model folder by the name that its manifest has for it; those of the index are index/NAME."""
    index = folder / INDEX
    whole = index.is_dir() and not index.is_symlink()
    below = {f"{INDEX}/{path.name}": path for path in index.iterdir()} if whole else {}
    return {path.name: path for path in folder.iterdir() if not (whole and path.name == INDEX)} | below


def loadable(name: str) -> bool:
    """May a file of this name be loaded from a model folder?"""
    *above, plain = name.split("/")
    kinds = INDEXED if above == [INDEX] else ALLOWED if not above else frozenset()
    return plain == Path(plain).name and not plain.startswith(".") and Path(plain).suffix in kinds


def verify(folder: Path, *, expected: str | None = None) -> str:
    """Check every byte of `folder` against its manifest, and that against `expected`; give the digest or `ModelRefused`."""
    from hallmark.artifacts import bundle  # which reads what this module describes

    return bundle.read(folder, expected=expected, keep=frozenset()).digest


def signature(folder: Path) -> Signature:
    """The signature of a sealed model folder, every byte of which is checked."""
    from hallmark.artifacts import bundle

    return bundle.read(folder, expected=None, keep=frozenset({"signature.json"})).signature
