"""The references of a model: the latest labelled items that it learnt from, encoded by its own ONNX model, with a picture of each."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hallmark.artifacts import references
from hallmark.artifacts.folder import INDEX, REFERENCES
from hallmark.artifacts.references import References
from hallmark.artifacts.signature import Signature
from hallmark.errors import ContractBroken, DeclarationError
from hallmark.features import code, image
from hallmark.features.encoding import Features
from hallmark.learners import onnx_model
from hallmark.learners.model import columns
from hallmark.retrieval import pairing
from hallmark.retrieval.unit import Items, build

if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 256
_SIDE, _ACROSS, _QUALITY = 256, 4, 90
"""Pixels of a photo in a picture at most, and photos in a row of it."""


def put(folder: Path, signature: Signature, label: str, training: pd.DataFrame | None) -> None:
    """Write the index and the pictures into a model folder that is whole but for them and its seal.

    label: the column that says which items are taken.   training: the rows that the model learnt from, the earliest first.
    """
    declared = signature.references
    if declared is None or training is None:
        raise DeclarationError(
            "the model has references, and nothing to take them from",
            expected="the training part, and references in SPEC",
            got="no training part" if training is None else "no references",
        )
    chosen = latest(training, declared, label)
    dimension = next(each.shape[0] for each in signature.outputs if each.name == declared.vector)
    build(
        folder / INDEX,
        _encoded(folder, signature, declared, chosen),
        **pairing.of_folder(folder)._asdict(),
        dimension=dimension,
        columns=dict.fromkeys(declared.same, "keyword"),
    )
    kept = zip(chosen[declared.id].astype(str), chosen[declared.photos], strict=True)
    references.write(folder / REFERENCES, {name: picture(photos) for name, photos in kept})


def latest(training: pd.DataFrame, declared: References, label: str) -> pd.DataFrame:
    """The last `each` rows of each combination that have the label, in their order; `ContractBroken` where none has."""
    rows = training[training[label] == declared.label]
    if declared.same:
        rows = rows.groupby(list(declared.same), sort=False, observed=True).tail(declared.each)
    else:
        rows = rows.tail(declared.each)
    if rows.empty:
        raise ContractBroken(
            "no item of the training part can be a reference",
            expected=f"some whose {label} is {declared.label}",
            got=f"{len(training)} others",
            fix="train on a longer --window",
        )
    return rows.reset_index(drop=True)


def picture(photos: Sequence[bytes]) -> bytes:
    """One JPEG of an item's photos, beside each other and none larger than it was."""
    side = min(_SIDE, max(max(head.width, head.height) for head in map(image.header, photos)))
    across = min(_ACROSS, len(photos))
    sheet = Image.new("RGB", (across * side, -(-len(photos) // across) * side), (127, 127, 127))
    for place, photo in enumerate(photos):
        tile = Image.fromarray(image.pixels(photo, size=(side, side), fit="letterbox"))
        sheet.paste(tile, (place % across * side, place // across * side))
    written = io.BytesIO()
    sheet.save(written, "JPEG", quality=_QUALITY)
    return written.getvalue()


def _encoded(folder: Path, signature: Signature, declared: References, rows: pd.DataFrame) -> Iterator[Items]:
    """The items in blocks, as the model server would encode them."""
    held = {name: (folder / name).read_bytes() for name in signature.assets}
    features = Features(code.load(folder, "features"), inputs=signature.inputs, assets=held)
    running = onnx_model.session(folder / "model.onnx")
    for begin in range(0, len(rows), _BLOCK):
        some = rows.iloc[begin : begin + _BLOCK]
        encoded = features.encode(columns(some, signature.fields), rows=len(some))
        yield Items(
            ids=some[declared.id].astype(str).tolist(),
            vectors=np.asarray(onnx_model.run(running, encoded, [declared.vector])[declared.vector], dtype=np.float32),
            values={name: some[name].astype(str).tolist() for name in declared.same},
        )
