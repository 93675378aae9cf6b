from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from sklearn.metrics import average_precision_score

from domains.fraud import model
from domains.fraud.features import NAMES
from hallmark.learners.boosting import Forest
from hallmark.learners.model import Examples

ROOT = Path(__file__).resolve().parents[3]


def drawn(n: int = 4000, *, seed: int = 0) -> Examples:
    """Examples that a forest can learn: the answer hangs on two columns, and on chance."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(n, len(NAMES))).astype(np.float32)
    chance = 1 / (1 + np.exp(-2 * inputs[:, 0] * (inputs[:, 1] > 0) + 2))
    return Examples(inputs, (random.random(n) < chance).astype(np.int64))


@pytest.fixture(scope="module")
def trained() -> Forest:
    return model.fit(drawn(), drawn(1000, seed=1), seed=7, rounds=60)


def test_the_forest_learns(trained: Forest) -> None:
    later = drawn(2000, seed=2)
    scores = trained.predict(later.inputs)
    assert scores.shape == (2000,) and scores.dtype == np.float32
    assert average_precision_score(later.labels, scores) > 1.5 * later.labels.mean()


def test_saved_and_restored_is_the_same_model(trained: Forest, tmp_path: Path) -> None:
    trained.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["booster.txt"]
    inputs = drawn(500, seed=3).inputs
    assert (model.restore(tmp_path).predict(inputs) == trained.predict(inputs)).all()


def test_a_restored_model_exports_the_same_bytes(trained: Forest, tmp_path: Path) -> None:
    trained.save(tmp_path)
    trained.export(tmp_path / "one.onnx")
    model.restore(tmp_path).export(tmp_path / "other.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "other.onnx").read_bytes()


def test_onnx_answers_as_the_forest_does_on_its_very_thresholds(trained: Forest, tmp_path: Path) -> None:
    trained.export(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    inputs = on_the_edge(trained, drawn(3000, seed=4).inputs)
    (scores,) = session.run(["score"], {"input": inputs})
    assert scores.shape == (3000,) and scores.dtype == np.float32
    assert np.abs(scores - trained.predict(inputs)).max() < 1e-6


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_onnx_takes_any_batch(trained: Forest, tmp_path: Path, rows: int) -> None:
    trained.export(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (scores,) = session.run(["score"], {"input": drawn(8).inputs[:rows]})
    assert scores.shape == (rows,)


def on_the_edge(trained: Forest, inputs: np.ndarray) -> np.ndarray:
    """`inputs` with values replaced by the float32 numbers around the forest's own thresholds."""
    found: dict[int, set[float]] = {}
    waiting = [tree["tree_structure"] for tree in trained.dumps()[0]["tree_info"]]
    while waiting:
        node = waiting.pop()
        if "split_index" in node:
            found.setdefault(node["split_feature"], set()).add(node["threshold"])
            waiting += [node["left_child"], node["right_child"]]
    random = np.random.default_rng(5)
    for column, thresholds in found.items():
        near = np.array(sorted(thresholds), dtype=np.float32)
        near = np.concatenate([np.nextafter(near, np.float32(-9e9)), near, np.nextafter(near, np.float32(9e9))])
        near[np.abs(near) < 1e-34] = 0  # LightGBM reads what is smaller as 0
        inputs[:, column] = random.choice(near, len(inputs))
    return inputs


_FIT = """
import hashlib, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import importlib.util
spec = importlib.util.spec_from_file_location("drawn_here", sys.argv[2])
tests = importlib.util.module_from_spec(spec); spec.loader.exec_module(tests)
folder = Path(sys.argv[3]); folder.mkdir()
made = tests.model.fit(tests.drawn(), tests.drawn(1000, seed=1), seed=7, rounds=60)
made.save(folder); made.export(folder / "model.onnx")
"""


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_in_another_process(trained: Forest, tmp_path: Path) -> None:
    trained.save(tmp_path)
    trained.export(tmp_path / "model.onnx")
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-c", _FIT, str(ROOT), __file__, str(other)], check=True, timeout=120)
    for name in ("booster.txt", "model.onnx"):
        here, there = ((folder / name).read_bytes() for folder in (tmp_path, other))
        assert hashlib.sha256(here).hexdigest() == hashlib.sha256(there).hexdigest(), name


def test_another_seed_gives_another_forest(trained: Forest) -> None:
    other = model.fit(drawn(), drawn(1000, seed=1), seed=8, rounds=60)
    inputs = drawn(100, seed=3).inputs
    assert (other.predict(inputs) != trained.predict(inputs)).any()


def test_progress_tells_each_round_until_the_end() -> None:
    told: list[tuple[int, int, str]] = []
    model.fit(drawn(), drawn(500, seed=1), seed=7, rounds=5, progress=lambda *step: told.append(step))
    assert [(done, total) for done, total, _ in told] == [(i, 5) for i in range(1, 6)]
    assert told[0][2].startswith("average precision 0.")
