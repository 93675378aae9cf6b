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
from pathlib import Path
from typing import TYPE_CHECKING

from hallmark.files import digest_file

if TYPE_CHECKING:
    from hallmark.artifacts.signature import Signature

INDEX = "index"
"""The folder of the unit within a model folder."""
REFERENCES = "references.parquet"
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
    {"model.onnx", "signature.json", "profile.json", "reference.parquet", "embeddings.safetensors", REFERENCES}
)
"""Files that the platform itself writes and reads, which no asset may be."""
DATA = frozenset({".json", ".safetensors", ".txt", ".parquet", ".model", ".npy"})
"""Allowed kinds of asset: bytes that are read as data and never run; .model is sentencepiece's vocabulary."""
ALLOWED = frozenset({".onnx", ".py"}) | DATA
INDEXED = frozenset({".json", ".npy", ".npz", ".faiss", ".parquet"})
"""Allowed kinds of file in `index/`."""


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
