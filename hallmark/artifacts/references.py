"""References of a model: labelled items of its training with an index of their vectors in the same folder, whose nearest it answers beside a score.

index/               vectors that the folder's own model.onnx made of them, and the columns that have to be equal (hallmark.retrieval)
references.parquet   the id of each, and one picture of its photos
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field as Key

from hallmark.artifacts.folder import REFERENCES
from hallmark.errors import ModelRefused
from hallmark.features.fields import Output
from hallmark.section import Frozen

ID, PICTURE = "id", "picture"
"""Columns of that file."""
_TOGETHER = 16


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


def write(path: Path, pictures: Mapping[str, bytes]) -> None:
    """Write the file of these pictures by id: the same bytes for the same pictures, a few in a group, so that one is read without the others."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({ID: pa.array(list(pictures), pa.string()), PICTURE: pa.array(pictures.values(), pa.binary())})
    pq.write_table(
        table, path, compression="none", use_dictionary=False, write_statistics=False, row_group_size=_TOGETHER
    )


class PictureFile:
    """The pictures of such a file; `ModelRefused` where it is none. What was changed since it was opened is not given."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path = path
        self._places: dict[str, tuple[int, int, bytes]] = {}
        try:
            with pq.ParquetFile(path) as found:
                for group in range(found.num_row_groups):
                    part = found.read_row_group(group, columns=[ID, PICTURE])
                    for row, (name, data) in enumerate(
                        zip(part[ID].to_pylist(), part[PICTURE].to_pylist(), strict=True)
                    ):
                        self._places[name] = group, row, hashlib.sha256(data).digest()
        except (pa.ArrowException, KeyError, OSError) as error:
            raise ModelRefused(
                f"{REFERENCES} of the model cannot be read",
                expected=f"Parquet with {ID} and {PICTURE}",
                got=str(error).splitlines()[0],
            ) from error

    def get(self, reference: str) -> bytes | None:
        """The picture of a reference; None where there is none, or where the file is another by now."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if reference not in self._places:
            return None
        group, row, digest = self._places[reference]
        try:
            with pq.ParquetFile(self._path) as found:
                data = found.read_row_group(group, columns=[PICTURE])[PICTURE][row].as_py()
        except (pa.ArrowException, IndexError, OSError):
            return None
        return data if hashlib.sha256(data).digest() == digest else None
