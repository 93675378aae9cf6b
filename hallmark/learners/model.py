"""What a domain's model.py takes and gives: examples in, a trained model out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hallmark.declaration import domain as domains
from hallmark.declaration.data import Data
from hallmark.errors import ContractBroken, DeclarationError
from hallmark.features.fields import Columns, Field

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.settings import Settings

Progress = Callable[[int, int, str], None]
"""Called as work goes on: how much is done, of how much, and a short note."""


@dataclass(frozen=True)
class Examples:
    """Encoded examples.

    inputs: (n, …) float32, as the domain's `features.encode` gives them.
    labels: (n,) int64; 0 or 1, or an index into the domain's `LABELS`.
    """

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels):
            raise ValueError(f"expected as many inputs as labels, got {len(self.inputs)} and {len(self.labels)}")

    def __len__(self) -> int:
        return len(self.labels)


class Trained(Protocol):
    """A trained model; none of its forms is a pickle."""

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores (n,), or probabilities (n, k)."""

    def save(self, folder: Path) -> None:
        """Write weights.safetensors or booster.txt into `folder`; the domain's `restore` reads it back."""

    def export(self, path: Path) -> None:
        """Write it as ONNX: one input "input" with a dynamic batch axis, the domain's `OUTPUTS` out, no external data."""


def columns(frame: pd.DataFrame, fields: Sequence[Field]) -> Columns:
    """The raw fields of `frame` and nothing else, in their declared types.

    What is not declared in the request (label, ids, times, what became known later) never reaches `encode`.
    """
    missing = [field.name for field in fields if field.name not in frame.columns]
    if missing:
        raise ContractBroken(
            f"column {missing[0]} is not in the data",
            expected=", ".join(field.name for field in fields),
            got=", ".join(map(str, frame.columns)),
            fix="mend the domain's data.py",
        )
    return {field.name: frame[field.name].to_numpy(dtype=field.dtype) for field in fields}


def labels(frame: pd.DataFrame, *, column: str, names: Sequence[str] = ()) -> NDArray[np.int64]:
    """The answers of `frame` as numbers: 0 or 1, or an index into `names`; (n,) int64."""
    raw = frame[column].to_numpy()
    if not names:
        numbers = raw.astype(np.float64)
        strangers = set(np.unique(numbers[~np.isin(numbers, (0.0, 1.0))]).tolist())
        if strangers:
            raise ContractBroken(
                f"label column {column} holds {sorted(strangers)[0]}", expected="0 or 1", got=str(strangers)
            )
        return np.asarray(numbers, dtype=np.int64)
    index = {name: number for number, name in enumerate(names)}
    unknown = sorted({str(value) for value in raw} - set(index))
    if unknown:
        raise ContractBroken(
            f"label column {column} holds {unknown[0]!r}, which the model has no class for",
            expected=", ".join(names),
            got=", ".join(unknown),
            fix="add it to LABELS in the domain's model.py, or leave those rows out in its data.py",
        )
    return np.array([index[str(value)] for value in raw], dtype=np.int64)


def examples(name: str, frame: pd.DataFrame, *, settings: Settings | None = None) -> Examples:
    """`frame` as the domain called `name` encodes it: the same `features.encode` that serving calls."""
    declared = domains.load(name, settings)
    features = domains.module(name, "features", settings)
    _no_answers(features.FIELDS, declared.data)
    inputs: Any = features.encode(columns(frame, features.FIELDS))
    names = domains.module(name, "model", settings).LABELS
    return Examples(
        inputs=np.ascontiguousarray(inputs, dtype=np.float32),
        labels=labels(frame, column=declared.data.label, names=names),
    )


def _no_answers(fields: Sequence[Field], data: Data) -> None:
    for field in fields:
        if field.name in {data.label, data.label_time, data.entity, data.event_time}:
            raise DeclarationError(
                f"{field.name} is declared as a request field and tells the answer, who it is about, or when",
                expected="only what is known before the answer",
                got=field.name,
                fix="take it out of FIELDS in the domain's features.py",
            )
