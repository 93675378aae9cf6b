"""References of a model: labelled items of its training with an index of their vectors in the same folder, whose nearest it answers beside a score.

index/               vectors that the folder's own model.onnx made of them, and the columns that have to be equal (hallmark.retrieval)
references.parquet   the id of each, and one picture of its photos
"""

from __future__ import annotations

import io

from pydantic import Field as Key

from hallmark.errors import ModelRefused
from hallmark.features.fields import Output
from hallmark.section import Frozen

PICTURES = "references.parquet"
ID, PICTURE = "id", "picture"
"""Columns of that file."""


class References(Frozen):
    """What a domain's model.py says of the items of its training that it answers beside its outputs, for a reviewer and an expert to compare with.

    id, photos: columns of the training data: what names an item, and its photos.   label: of the items that are taken.
    vector:     the output that is compared.   same: fields of a request that a reference has to share.
    items:      the output that they are answered in, `k` at most, "" where there are fewer.
    each:       references that are kept of each combination of `same`, the latest ones.
    """

    id: str
    photos: str
    vector: str
    same: tuple[str, ...] = ()
    label: int = 0
    items: str = "items"
    k: int = Key(default=4, ge=1, le=100)
    each: int = Key(default=100, ge=1, le=10_000)

    @property
    def output(self) -> Output:
        """The output of an answer that holds their ids, the nearest first."""
        return Output(name=self.items, datatype="BYTES", shape=(self.k,))


def packed(pictures: dict[str, bytes]) -> bytes:
    """The file of these pictures by id: the same bytes for the same pictures."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({ID: pa.array(list(pictures), pa.string()), PICTURE: pa.array(pictures.values(), pa.binary())})
    written = io.BytesIO()
    pq.write_table(table, written, compression="none", use_dictionary=False, write_statistics=False)
    return written.getvalue()


def pictures(data: bytes) -> dict[str, bytes]:
    """The pictures of such a file, by id; `ModelRefused` where it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data), columns=[ID, PICTURE])
        return dict(zip(table[ID].to_pylist(), table[PICTURE].to_pylist(), strict=True))
    except (pa.ArrowException, KeyError, OSError) as error:
        raise ModelRefused(
            f"{PICTURES} of the model cannot be read",
            expected=f"Parquet with {ID} and {PICTURE}",
            got=str(error).splitlines()[0],
        ) from error
