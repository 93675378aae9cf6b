"""The unit: written whole or not at all, opened with what made it or not at all, whichever byte was changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hallmark.artifacts import bundle
from hallmark.artifacts import folder as folders
from hallmark.artifacts.folder import INDEX
from hallmark.artifacts.signature import Signature
from hallmark.errors import ContractBroken, DeclarationError, ModelRefused
from hallmark.features.fields import Field, Output
from hallmark.retrieval import pairing
from hallmark.retrieval.card import IndexOptions
from hallmark.retrieval.search import Retriever
from hallmark.retrieval.unit import Items, build, open_unit
from hallmark.tasks import Binary
from tests.hallmark.retrieval.corpus import COLUMNS, ENCODER, PREPROCESSING, built, corpus

KINDS = [
    IndexOptions(kind="exact"),
    IndexOptions(kind="hnsw"),
    IndexOptions(kind="ivf", lists=16),
    IndexOptions(kind="hnsw", codes="int8"),
    IndexOptions(kind="ivf", codes="int8", lists=16),
]


def named(options: IndexOptions) -> str:
    return f"{options.kind}-{options.codes}"


@pytest.mark.parametrize("options", KINDS, ids=named)
def test_a_byte_of_any_part_that_was_changed_is_refused(options: IndexOptions, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    built(folder, corpus(700, 16), options)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for at in {0, len(whole) // 2, len(whole) - 1}:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(ModelRefused):
                open_unit(folder, encoder=ENCODER, preprocessing=PREPROCESSING, digest=_digest(whole, path))
        path.write_bytes(whole)
    assert len(open_unit(folder, encoder=ENCODER, preprocessing=PREPROCESSING)) == 700


def _digest(whole: bytes, path: Path) -> str:
    from hashlib import sha256

    return f"sha256:{sha256(whole).hexdigest()}" if path.name == "unit.json" else ""


def test_twenty_pairs_of_the_same_dimension_are_refused(tmp_path: Path) -> None:
    """Fault 40: an index of another encoder or preprocessing is never opened, however well it would fit by its shape."""
    built(tmp_path / "index", corpus(50, 8))
    others = [(f"sha256:{each:064d}", PREPROCESSING) for each in range(10)]
    others += [(ENCODER, f"sha256:{each:064d}") for each in range(10)]
    refused = 0
    for encoder, preprocessing in others:
        with pytest.raises(ModelRefused, match="was made by another"):
            open_unit(tmp_path / "index", encoder=encoder, preprocessing=preprocessing)
        refused += 1
    assert refused == 20


def test_what_is_in_the_folder_and_not_in_the_card_is_refused(tmp_path: Path) -> None:
    built(tmp_path / "index", corpus(20, 8))
    (tmp_path / "index" / "more.npy").write_bytes(b"")
    with pytest.raises(ModelRefused, match=r"more\.npy is in the index"):
        open_unit(tmp_path / "index", encoder=ENCODER, preprocessing=PREPROCESSING)
    (tmp_path / "index" / "more.npy").unlink()
    shutil.move(tmp_path / "index" / "words.npz", tmp_path / "words.npz")
    (tmp_path / "index" / "words.npz").symlink_to(tmp_path / "words.npz")
    with pytest.raises(ModelRefused):
        open_unit(tmp_path / "index", encoder=ENCODER, preprocessing=PREPROCESSING)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vectors": np.full((3, 4), np.nan)}, "cannot be compared"),
        ({"vectors": np.zeros((3, 4))}, "cannot be compared"),
        ({"vectors": np.full((3, 4), np.inf)}, "cannot be compared"),
        ({"vectors": np.ones((3, 5))}, "another shape"),
        ({"vectors": np.ones((2, 4))}, "a vector each"),
        ({"ids": ["a", "b", "a"]}, "comes twice"),
        ({"ids": ["a", "b", ""]}, "is no id"),
        ({"values": {"price": [1.0, 2.0, "three"]}}, "column price"),
        ({"values": {"colour": ["red"] * 3}}, "colour"),
        ({"values": {"price": [1.0, 2.0]}}, "a value per item"),
        ({"texts": ["a", "b"]}, "a text each"),
    ],
)
def test_items_that_an_index_cannot_hold_leave_nothing_behind(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    good = {"ids": ["a", "b", "c"], "vectors": np.ones((3, 4))}

    def blocks() -> Iterator[Items]:
        yield Items(["first"], np.ones((1, 4)))
        yield Items(**{**good, **change})

    with pytest.raises(ContractBroken, match=said):
        build(
            tmp_path / "index",
            blocks(),
            encoder=ENCODER,
            preprocessing=PREPROCESSING,
            dimension=4,
            columns={"price": "number"},
            words=True,
        )
    assert not list(tmp_path.iterdir())


def test_an_id_of_an_earlier_block_is_refused(tmp_path: Path) -> None:
    block = Items(["a"], np.ones((1, 4)))
    with pytest.raises(ContractBroken, match="comes twice"):
        build(tmp_path / "index", [block, block], encoder="a", preprocessing="b", dimension=4)


def test_an_index_is_not_written_over_another(tmp_path: Path) -> None:
    built(tmp_path / "index", corpus(20, 8))
    with pytest.raises(DeclarationError, match="not written over"):
        built(tmp_path / "index", corpus(20, 8))


def test_the_same_items_make_the_same_bytes(tmp_path: Path) -> None:
    items, options = corpus(400, 8), IndexOptions(kind="hnsw", codes="int8")
    assert built(tmp_path / "one", items, options).digest == built(tmp_path / "two", items, options).digest


def test_an_index_of_no_items_finds_nothing(tmp_path: Path) -> None:
    for kind in ("auto", "exact"):
        build(tmp_path / kind, [], encoder="a", preprocessing="b", dimension=4, options=IndexOptions(kind=kind))  # type: ignore[arg-type]
        assert Retriever(open_unit(tmp_path / kind, encoder="a", preprocessing="b")).search(np.ones(4), 3).of() == []


def model_folder(folder: Path, weights: bytes = b"\x3a\x00") -> Path:
    """A model folder with an index of 40 items."""
    folder.mkdir()
    output = Output(name="answer", datatype="FP32", shape=Binary().shape)
    fields = (Field(name="amount", datatype="FP64"),)
    signature = Signature(domain="shop", task=Binary(), fields=fields, outputs=(output,))
    (folder / "signature.json").write_text(signature.model_dump_json(), encoding="utf-8")
    (folder / "model.onnx").write_bytes(weights)
    (folder / "features.py").write_text("", encoding="utf-8")
    items = corpus(40, 8)
    build(
        folder / INDEX,
        [Items(items.ids, items.vectors, items.values, items.texts)],
        dimension=8,
        columns=COLUMNS,
        words=True,
        **pairing.of_folder(folder)._asdict(),
    )
    return folder


def test_the_index_is_part_of_the_model_and_of_its_digest(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    digest = folders.seal(folder)
    model = bundle.read(folder, expected=digest)
    unit = pairing.opened(folder, model)
    assert unit is not None and len(unit) == 40
    assert f"{INDEX}/vectors.npy" in model.digests
    for path in sorted((folder / INDEX).iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ModelRefused, match=path.name):
            bundle.read(folder, expected=digest)
        path.write_bytes(whole)
    (folder / INDEX / "more.npy").write_bytes(b"")
    with pytest.raises(ModelRefused, match=r"more\.npy is in the model folder"):
        bundle.read(folder, expected=digest)


def test_the_index_of_another_model_does_not_open_although_it_is_sealed_with_it(tmp_path: Path) -> None:
    one = model_folder(tmp_path / "one")
    other = model_folder(tmp_path / "other", weights=b"\x3a\x00\x3a\x00")
    shutil.rmtree(one / INDEX)
    shutil.copytree(other / INDEX, one / INDEX)
    digest = folders.seal(one)
    with pytest.raises(ModelRefused, match="another encoder"):
        pairing.opened(one, bundle.read(one, expected=digest))


def test_a_model_without_an_index_has_none(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    shutil.rmtree(folder / INDEX)
    digest = folders.seal(folder)
    assert pairing.opened(folder, bundle.read(folder, expected=digest)) is None


def test_a_linked_index_is_not_read(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    digest = folders.seal(folder)
    shutil.move(folder / INDEX, tmp_path / "elsewhere")
    (folder / INDEX).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(ModelRefused):
        bundle.read(folder, expected=digest)
