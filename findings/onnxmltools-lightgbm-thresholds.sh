#!/usr/bin/env bash
# onnxmltools turns a LightGBM model into ONNX with each threshold rounded to the nearest float32. LightGBM compares in float64
# (x <= t). A float32 input that lies on a threshold, or between the threshold and its rounding, then takes the other branch: on
# inputs that really occur at thresholds (LightGBM puts them halfway between observed values, so counts and prices hit them) the exported
# model answers otherwise, by as much as a leaf, without a warning. A comparison on random rows does not show it.
# Versions: onnxmltools 1.16.0, skl2onnx 1.20.0, lightgbm 4.7.0, onnxruntime 1.31.0.
# Why it matters: whoever serves the ONNX form of a forest serves other answers than the ones that were evaluated. Rounding every
# threshold down to the next float32 keeps each comparison of float32 inputs as it was.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnxmltools==1.16.0 skl2onnx==1.20.0 lightgbm==4.7.0 onnxruntime==1.31.0 "onnx<1.21" "numpy<3" scikit-learn
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import lightgbm
import numpy as np
import onnxruntime
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

random = np.random.default_rng(7)
inputs = random.normal(size=(4000, 4)).astype(np.float32)
labels = (inputs[:, 0] * inputs[:, 1] + 0.3 * random.normal(size=4000) > 0).astype(int)
booster = lightgbm.train(
    {"objective": "binary", "num_leaves": 31, "verbosity": -1, "seed": 1, "deterministic": True, "num_threads": 1},
    lightgbm.Dataset(inputs, labels), 60,
)


def thresholds(node, found):
    if "threshold" in node:
        found.append((node["split_feature"], node["threshold"]))
        thresholds(node["left_child"], found)
        thresholds(node["right_child"], found)
    return found


on = [pair for tree in booster.dump_model()["tree_info"] for pair in thresholds(tree["tree_structure"], [])]
rows = inputs[random.integers(0, len(inputs), 2000)].copy()
for row in rows:  # one value of each row is the float32 nearest to a threshold
    feature, threshold = on[random.integers(0, len(on))]
    row[feature] = np.float32(threshold)

made = convert_lightgbm(booster, initial_types=[("input", FloatTensorType([None, 4]))], zipmap=False, target_opset=15)
session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])


def gaps(batch):
    exported = session.run(["probabilities"], {"input": batch})[0][:, 1]
    return np.abs(exported - booster.predict(batch, num_threads=1))


plain, exact = gaps(random.normal(size=(2000, 4)).astype(np.float32)), gaps(rows)
print("onnxmltools", version("onnxmltools"), "lightgbm", version("lightgbm"), "onnxruntime", onnxruntime.__version__)
print(f"random rows:         {np.mean(plain > 1e-4):6.1%} differ by more than 1e-4, at most {plain.max():.2g}")
print(f"rows on a threshold: {np.mean(exact > 1e-4):6.1%} differ by more than 1e-4, at most {exact.max():.2g}")
assert np.mean(plain > 1e-4) < 0.001, "random rows differ too: the finding has changed"
assert np.mean(exact > 1e-4) > 0.02, "rows on thresholds agree: the finding is gone"
PY
