"""A model folder: what export writes, the registry keeps and the model server loads.

model.onnx        the serving model, self-contained (no external data)
signature.json    fields in, outputs out, labels, domain
features.py       the domain's feature code, as it was when the model was trained
serving.py        the domain's answer code, where it has one
weights.safetensors or booster.txt   the trained model in its own form
profile.json      reference profile for drift;  reference.parquet  a sample of it for reports
embeddings.safetensors  a sample of the reference's embeddings, where features.py says how to embed
manifest.json     sha256 of each of the above; its own sha256 is the model's digest
model_card.json     where it comes from; names the digest, so it is not part of it
"""

from __future__ import annotations

import json
from pathlib import Path

from hallmark.features.fields import Field, Output
from hallmark.files import digest_file
from hallmark.section import Frozen

MANIFEST = "manifest.json"
MODEL_CARD = "model_card.json"
ALLOWED = frozenset({".onnx", ".json", ".py", ".safetensors", ".txt", ".parquet"})


class Signature(Frozen):
    """What a model takes and gives: raw `fields` in (`features.py` encodes them), `outputs` of the ONNX model out."""

    domain: str
    fields: tuple[Field, ...]
    outputs: tuple[Output, ...]
    labels: tuple[str, ...] = ()
    onnx_input: str = "input"


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
    from hallmark.artifacts import bundle  # which reads what this module describes

    return bundle.read(folder, expected=expected, keep=frozenset()).digest


def signature(folder: Path) -> Signature:
    """The signature of a sealed model folder, every byte of which is checked."""
    from hallmark.artifacts import bundle

    return bundle.read(folder, expected=None, keep=frozenset({"signature.json"})).signature
