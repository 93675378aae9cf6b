"""The pair of a model and its index: which encoder and which preprocessing a model has, by digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hallmark.artifacts.bundle import Bundle
from hallmark.artifacts.folder import INDEX
from hallmark.artifacts.signature import Signature
from hallmark.files import digest_file
from hallmark.retrieval.card import UNIT
from hallmark.retrieval.unit import Unit, open_unit


class Pair(NamedTuple):
    """Digests of what makes vectors of items and queries, the two that `build` is given and `open_unit` compares.

    encoder: of the model's ONNX file.  preprocessing: of its feature code, its assets, and its inputs as the signature has them.
    """

    encoder: str
    preprocessing: str


def of(digests: Mapping[str, str], signature: Signature) -> Pair:
    """The pair of a model, from the digests of its files by name; of one that answers with items, what its retriever names."""
    if signature.retriever is not None:
        return Pair(*signature.retriever.made_by(digests, assets=signature.assets))
    parts = {name: digests[name] for name in ("features.py", *sorted(signature.assets))}
    told = json.dumps([parts, [each.model_dump(mode="json") for each in signature.inputs]], sort_keys=True)
    return Pair(digests["model.onnx"], f"sha256:{hashlib.sha256(told.encode()).hexdigest()}")


def of_folder(folder: Path) -> Pair:
    """The pair of a model folder that is not sealed yet, which its index is built for."""
    signature = Signature.model_validate_json((folder / "signature.json").read_bytes())
    return of({path.name: digest_file(path) for path in folder.iterdir() if path.is_file()}, signature)


def opened(folder: Path, model: Bundle) -> Unit | None:
    """The index in the model folder from which `model` was read; None where it has none.

    `ModelRefused` where the index was made by another encoder or preprocessing, or was changed since `model` was read.
    """
    digests = model.digests
    if f"{INDEX}/{UNIT}" not in digests:
        return None
    return open_unit(folder / INDEX, **of(digests, model.signature)._asdict(), digest=digests[f"{INDEX}/{UNIT}"])
