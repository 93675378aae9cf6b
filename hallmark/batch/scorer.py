"""A version of a model as a function of Arrow blocks: the same bytes, code and outputs as the server's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ContractBroken
from hallmark.features import arrays
from hallmark.features.fields import Field, Output

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from hallmark.artifacts.bundle import Bundle

_PLAIN = {"BOOL": "bool", "INT32": "int32", "INT64": "int64", "FP32": "float32", "FP64": "float64"}


class Scorer:
    """A verified model folder, loaded once."""

    def __init__(self, bundle: Bundle, *, threads: int) -> None:
        from hallmark.learners import onnx_model

        self.signature, self.digest = bundle.signature, bundle.digest
        self.fields: dict[str, Field] = {field.name: field for field in self.signature.fields}
        self._features = bundle.features
        self._answer, added = bundle.answer
        self.outputs: tuple[Output, ...] = (*self.signature.outputs, *added)
        self._session = onnx_model.session(bundle.file("model.onnx"), threads=threads)
        self._names = [output.name for output in self.signature.outputs]

    def score(self, block: pa.Table, *, first: int) -> dict[str, NDArray[Any]]:
        """(n, …) each output of a block, whose first row has the number `first`; `ContractBroken` where a record is not what its fields say."""
        columns = {name: column(block.column(name), field, first=first) for name, field in self.fields.items()}
        made = dict(
            zip(
                self._names,
                self._session.run(self._names, self._features.encode(columns, rows=len(block))),
                strict=True,
            )
        )
        if self._answer is not None:
            made |= self._answer(made, self.signature.labels)
        return {output.name: np.asarray(made[output.name]) for output in self.outputs}

    def answers(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Answers to the n rows of `frame`, a column an output, by the index of the frame; columns that are not read may be there.

        `ContractBroken` where a column is missing or a value is not what the model reads.
        """
        import pandas as pd
        import pyarrow as pa

        demand(self.signature.domain, "the frame", [str(name) for name in frame.columns], self)
        block = pa.table({name: pa.chunked_array([pa.Array.from_pandas(frame[name])]) for name in self.fields})
        made = self.score(block, first=0)
        told = {name: list(values) if values.ndim > 1 else values for name, values in made.items()}
        return pd.DataFrame(told, index=frame.index)


def missing(names: Sequence[str], fields: Mapping[str, Field]) -> list[str]:
    """Fields that a file has no column for."""
    return [name for name in fields if name not in names]


def demand(domain: str, source: str, names: Sequence[str], scorer: Scorer) -> None:
    """`ContractBroken` where columns of these `names` are not all that the model reads; `source` is what the error calls them."""
    absent = missing(names, scorer.fields)
    if not absent:
        return
    views = {name for use in scorer.signature.views for name in use.fields}
    looked_up = [name for name in absent if name in views]
    fix = "add the columns, or name them in data.yaml beside the file (docs/data.md)"
    if looked_up:
        fix = f"{', '.join(looked_up)}: a feature view has them; join it to your rows first (docs/features.md)"
    raise ContractBroken(
        f"{source} lacks what {domain} reads: {', '.join(absent)}",
        expected=", ".join(scorer.fields),
        got=", ".join(names),
        fix=fix,
    )


def column(values: pa.ChunkedArray, field: Field, *, first: int = 0) -> NDArray[Any]:
    """(n, *shape) the column as `encode` reads it; `ContractBroken` names the field, and the first row that is not what it says."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = values.combine_chunks()
    whole = (
        whole
        if not isinstance(whole, pa.ChunkedArray)
        else pa.concat_arrays(whole.chunks)
        if whole.num_chunks
        else pa.array([], whole.type)
    )
    if field.shape or field.media == "image":
        try:
            return arrays.column(whole.to_pylist(), field)
        except arrays.Misfit as error:
            raise _broken(field, first + error.row, error.reason) from error
    if whole.null_count and not field.optional:
        raise _broken(field, first + _at(pc.is_null(whole)), "nothing")
    if field.datatype == "BYTES":
        return _words(whole, field, first)
    try:
        kind = "float64" if field.optional and field.datatype != "FP32" else _PLAIN[field.datatype]
        if pa.types.is_boolean(whole.type) and kind != "bool":
            whole = whole.cast("int8")
        told = whole.cast(kind) if whole.type != pa.type_for_alias(kind) else whole
    except pa.ArrowInvalid as error:
        raise _broken(field, None, str(error).splitlines()[0]) from error
    found = told.to_numpy(zero_copy_only=False)
    found = found.astype(field.dtype, copy=False)
    low, high = field.minimum, field.maximum
    if len(found) and (low is not None or high is not None or (not field.optional and found.dtype.kind == "f")):
        inside = np.ones(len(found), dtype=np.bool_)
        if low is not None:
            inside &= found >= low
        if high is not None:
            inside &= found <= high
        if found.dtype.kind == "f":
            inside &= ~np.isinf(found)
            inside = inside | np.isnan(found) if field.optional else inside & ~np.isnan(found)
        if not inside.all():
            at = int(np.argmin(inside))
            raise _broken(field, first + at, f"{found[at]}")
    return np.asarray(found)


def _words(values: Any, field: Field, first: int) -> NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    encoded = values if pa.types.is_dictionary(values.type) else pc.dictionary_encode(values)
    known = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    places = pc.fill_null(encoded.indices, len(known) - 1).to_numpy(zero_copy_only=False)
    for at, word in enumerate(known[:-1].tolist()):
        empty = word == "" and field.optional
        if empty:
            known[at] = None
        elif not isinstance(word, str) or (
            (field.categories is not None and word not in field.categories)
            or (field.longest is not None and len(word) > field.longest)
        ):
            raise _broken(field, first + int(np.argmax(places == at)), repr(word))
    return np.asarray(known[places])


def _at(mask: Any) -> int:
    return int(np.argmax(mask.to_numpy(zero_copy_only=False)))


def _broken(field: Field, row: int | None, got: str) -> ContractBroken:
    told = [field.datatype + (f" of shape {list(field.shape)}" if field.shape else "")]
    if field.minimum is not None or field.maximum is not None:
        low = "" if field.minimum is None else f"{field.minimum:g}"
        told.append(f"{low}..{'' if field.maximum is None else f'{field.maximum:g}'}")
    if field.categories is not None:
        told.append("one of " + ", ".join(field.categories))
    where = "" if row is None else f" in row {row + 1:,}"
    return ContractBroken(
        f"column {field.name} is not what the model reads{where}",
        expected="; ".join(told) + (" or nothing" if field.optional else ""),
        got=got,
        fix="mend that row or column: nothing was answered",
    )
