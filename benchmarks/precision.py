"""Cost and gain of eight bits on the listing network: top-1 and milliseconds per photo, by quantization method.

    python benchmarks/precision.py [--data ../shared/data/clothing] [--epochs 8] [--trained folder]

A short training stands in for the whole one; `--trained` names a folder with weights.safetensors instead (a registered
version has one). Scales come from training photos, everything is measured on the test people of `hallmark train listing`,
one photo at a time on one thread, all models alternating. docs/decisions/0006-int8-where-it-pays.md reads this table.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import quantization as ort
from onnxruntime.quantization.shape_inference import quant_pre_process

from domains.listing import data
from domains.listing import model as listing
from hallmark.declaration import domain as domains
from hallmark.learners import onnx_model
from hallmark.learners.model import Examples, examples
from hallmark.training import precision, race
from hallmark.training import quantize as quantizing
from hallmark.training.split import split

FEW = 32
"""Histograms of every activation of every photo are kept in memory: 256 photos would be gigabytes."""
KEPT: dict[str, Any] = {
    "op_types_to_quantize": list(quantizing.OPERATORS),
    "per_channel": True,
    "reduce_range": True,
    "activation_type": ort.QuantType.QUInt8,
    "weight_type": ort.QuantType.QInt8,
    "calibrate_method": ort.CalibrationMethod.MinMax,
}
OTHERS: dict[str, dict[str, Any]] = {
    "scales from percentiles (99.999)": {"calibrate_method": ort.CalibrationMethod.Percentile},
    "scales by entropy": {"calibrate_method": ort.CalibrationMethod.Entropy},
    "weights of eight bits": {"reduce_range": False},
    "one scale a weight tensor": {"per_channel": False},
    "signed activations": {"activation_type": ort.QuantType.QInt8, "reduce_range": False},
    "convolutions and head alone": {"op_types_to_quantize": list(quantizing.WEIGHTED)},
}


class CalibrationReader(ort.CalibrationDataReader):  # type: ignore[misc]
    """Photos, eight at a time."""

    def __init__(self, photos: NDArray[np.float32]) -> None:
        self.parts = iter([photos[start : start + 8] for start in range(0, len(photos), 8)])

    def get_next(self) -> dict[str, Any] | None:
        part = next(self.parts, None)
        return None if part is None else {onnx_model.INPUT: part}


def made(fp32: Path, folder: Path, photos: NDArray[np.float32]) -> dict[str, Path]:
    """Every form by its name."""
    forms = {"fp32": fp32, "int8, as kept": folder / "kept.onnx"}
    quantizing.quantize(fp32, forms["int8, as kept"], photos)
    prepared = folder / "prepared.onnx"
    quant_pre_process(str(fp32), str(prepared))
    for number, (name, changed) in enumerate(OTHERS.items()):
        forms[name] = folder / f"{number}.onnx"
        seen = photos[:FEW] if "calibrate_method" in changed else photos
        with contextlib.redirect_stdout(io.StringIO()):
            ort.quantize_static(str(prepared), str(forms[name]), CalibrationReader(seen), **{**KEPT, **changed})
    return forms


def raced(forms: list[Path], photo: NDArray[np.float32], rounds: int = 300) -> list[float]:
    """Milliseconds of each: in turn, the best of all."""
    sessions = [onnx_model.session(path, threads=1) for path in forms]
    best = [float("inf")] * len(forms)
    for _ in range(rounds):
        for place, session in enumerate(sessions):
            began = time.perf_counter()
            session.run(None, {onnx_model.INPUT: photo})
            best[place] = min(best[place], (time.perf_counter() - began) * 1e3)
    return best


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path("../shared/data/clothing"))
    options.add_argument("--epochs", type=int, default=1)
    options.add_argument("--trained", type=Path)
    asked = options.parse_args()
    declared = domains.load("listing")
    parts = split(declared, data.read(asked.data), seed=declared.training.seed)
    train, validation, test = (examples("listing", part) for part in (parts.train, parts.validation, parts.test))
    began = time.monotonic()
    trained = (
        listing.restore(asked.trained)
        if asked.trained
        else listing.fit(train, validation, seed=declared.training.seed, epochs=asked.epochs)
    )
    rows = np.random.default_rng(declared.training.seed).choice(len(train), size=precision.ROWS, replace=False)
    print(f"{len(test)} photos to measure on; trained in {time.monotonic() - began:.0f} s; {race.processor()}")
    with tempfile.TemporaryDirectory() as scratch:
        fp32 = Path(scratch) / "fp32.onnx"
        trained.export(fp32)
        onnx_model.tidy(fp32)
        forms = made(fp32, Path(scratch), train.inputs[np.sort(rows)])
        report(forms, test)
        operators = ", ".join(sorted({node.op_type for node in onnx.load(str(forms["int8, as kept"])).graph.node}))
        print(f"operators of the kept form: {operators}")


def report(forms: dict[str, Path], test: Examples) -> None:
    """A line for each form."""
    scores = [precision.scores(path, test.inputs, listing.OUTPUTS) for path in forms.values()]
    times = raced(list(forms.values()), test.inputs[:1])
    print(f"{'':36}{'top-1':>7}{'as fp32':>9}{'off by':>8}{'ms':>8}{'times':>7}")
    for name, given, took in zip(forms, scores, times, strict=True):
        right = (given.argmax(axis=1) == test.labels).mean()
        same = (given.argmax(axis=1) == scores[0].argmax(axis=1)).mean()
        off = np.abs(given - scores[0]).max()
        print(f"{name:36}{right:7.4f}{same:9.3f}{off:8.3f}{took:8.2f}{times[0] / took:7.2f}")


if __name__ == "__main__":
    main()
