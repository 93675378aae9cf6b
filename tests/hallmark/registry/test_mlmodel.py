"""MLflow loads a registered version as a function where Hallmark is not installed, and gets the answers of the server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from domains.fraud import data as fraud
from hallmark.artifacts import bundle, folder
from hallmark.artifacts.signature import Signature
from hallmark.errors import ModelRefused
from hallmark.features.encoding import Input
from hallmark.features.fields import Field, Output
from hallmark.learners.model import columns
from hallmark.libraries import unwarned
from hallmark.registry import mlmodel
from hallmark.registry.store import Registry
from hallmark.settings import Settings
from hallmark.tasks.kinds import Task
from hallmark.training import sharing
from inference_services.runtime.model import Model
from tests.hallmark.registry.conftest import at, model_card
from tests.hallmark.rollout.candidates import Trained

FIELDS = (
    Field(name="length", datatype="FP32", minimum=0),
    Field(name="bids", datatype="INT64", optional=True),
    Field(name="boxed", datatype="BOOL"),
    Field(name="brand", datatype="BYTES", optional=True),
    Field(name="sides", datatype="FP64", shape=(2,)),
)
FEATURES = """
import numpy as np

from hallmark.features.fields import Field
from hallmark.features.hashing import bucket

FIELDS = tuple(Field(**each) for each in {fields!r})


def encode(columns):
    words = [0 if word is None else bucket(word, buckets=7) for word in columns["brand"]]
    plain = [np.nan_to_num(columns["bids"]), columns["length"], columns["boxed"], words, *columns["sides"].T]
    return np.stack([np.asarray(each, dtype=np.float32) for each in plain], axis=1)
"""
SERVING = """
import numpy as np

from hallmark.features.fields import Output

OUTPUTS = (Output(name="label", datatype="BYTES"), Output(name="confidence", datatype="FP32"))


def answer(outputs, labels):
    found = outputs["probabilities"]
    return {"label": np.array(labels, dtype=object)[found.argmax(axis=1)], "confidence": found.max(axis=1)}
"""
FRAME = pd.DataFrame(
    {
        "length": [1.5, 2.25, 3.125, 0.1],
        "bids": [3.0, np.nan, 7.0, 0.0],
        "boxed": [True, False, True, True],
        "brand": ["Ätna", None, "b", "c"],
        "sides": [[0.5, 1.0], [1.0, 0.25], [0.1, 0.2], [0.0, -3.0]],
        "not_read": [1, 2, 3, 4],
    },
    index=[5, 7, 9, 11],
)
# Hallmark's own checkout is not to be found, as in an environment in which it is not installed.
ELSEWHERE = """
import importlib.util, json, sys
sys.meta_path = [each for each in sys.meta_path if not getattr(each, "__module__", "").startswith("__editable__")]
assert importlib.util.find_spec("hallmark") is None, "Hallmark is installed here"
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
for name in json.loads(sys.argv[2]):
    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    model.predict(pandas.read_parquet(f"{name}.frame")).to_parquet(f"{name}.answers")
import hallmark
print(hallmark.__file__)
assert not {"torch", "lightgbm", "hallmark.training", "hallmark.registry"} & set(sys.modules)
"""
KINDS = {
    "binary": ({"kind": "binary"}, Output(name="probability", datatype="FP32"), (), "Sigmoid"),
    "multiclass": (
        {"kind": "multiclass", "labels": ("bag", "coat", "shoe")},
        Output(name="probabilities", datatype="FP32", shape=(3,)),
        ("bag", "coat", "shoe"),
        "Softmax",
    ),
    "regression": ({"kind": "regression"}, Output(name="price", datatype="FP32"), (), "Identity"),
}


def sealed(place: Path, kind: str) -> str:
    """A sealed model folder of a toy domain; its digest."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    task, output, labels, last = KINDS[kind]
    place.mkdir(parents=True)
    rng = np.random.default_rng(7)
    shape = (6, *output.shape)
    weights = numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "w"], ["raw"]), helper.make_node(last, ["raw"], [output.name])],
        kind,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 6])],
        [helper.make_tensor_value_info(output.name, TensorProto.FLOAT, ["batch", *output.shape])],
        [weights],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (place / "model.onnx").write_bytes(made.SerializeToString())
    assert onnx.load(str(place / "model.onnx")).graph.name == kind
    fields = [each.model_dump(exclude_defaults=True) for each in FIELDS]
    (place / "features.py").write_text(FEATURES.format(fields=fields))
    if labels:
        (place / "serving.py").write_text(SERVING)
    signature = Signature(
        domain=kind,
        task=TypeAdapter(Task).validate_python(task),
        fields=FIELDS,
        outputs=(output,),
        labels=labels,
        inputs=(Input(),),
    )
    (place / "signature.json").write_text(signature.model_dump_json())
    return folder.seal(place)


def registered(registry: Registry, place: Path, kind: str) -> Path:
    """The folder of a version, as the registry keeps it, that is champion of its domain."""
    version = registry.register(place, model_card(sealed(place, kind), kind))
    registry.alias(kind, "champion", version)
    found = registry.resolve(kind, version).path
    assert found is not None
    return found


def elsewhere(tracking: str, frames: Mapping[str, pd.DataFrame], scratch: Path) -> tuple[dict[str, pd.DataFrame], str]:
    """Answers of MLflow's champions in a process that has no Hallmark, and where it says that its code is from."""
    for name, frame in frames.items():
        frame.to_parquet(scratch / f"{name}.frame")
    told = [sys.executable, "-I", "-c", ELSEWHERE, tracking, json.dumps([*frames])]
    done = subprocess.run(told, cwd=scratch, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: pd.read_parquet(scratch / f"{name}.answers") for name in frames}, done.stdout.splitlines()[-1]


def served(place: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """The server's answers to one request of all rows."""
    server = Model("toy", bundle.read(place, expected=None))
    made = server.predict(columns(frame, server.signature.fields), len(frame))
    told = {name: list(values) if np.ndim(values) > 1 else values for name, values in made.items()}
    return pd.DataFrame(told, index=frame.index)


@pytest.mark.slow
def test_mlflow_answers_as_the_server_where_hallmark_is_not_installed(
    settings: Settings, tmp_path: Path, trained_fraud: Trained
) -> None:
    trained_fraud.register(settings)
    registry = Registry(settings)
    registry.alias("fraud", "champion", 1)
    places = {kind: registered(registry, tmp_path / kind, kind) for kind in KINDS}
    places["fraud"] = registry.resolve("fraud", 1).fetch()
    start = datetime(2026, 6, 1, tzinfo=UTC)
    orders = fraud.draw(start=start, end=start + timedelta(days=2), seed=9).head(300)
    looked_up = dict.fromkeys(("buyer_orders_30d", "buyer_cards_90d", "device_accounts", "ip_orders_1h"), 2)
    orders = orders.assign(**looked_up)  # what feature views know is in the frame, as in a file for hallmark predict
    frames = {**dict.fromkeys(KINDS, FRAME), "fraud": orders}
    answers, origin = elsewhere(settings.tracking, frames, tmp_path)
    assert "hallmark.zip" in origin
    for name, got in answers.items():
        served(places[name], frames[name]).to_parquet(tmp_path / "served")
        expected = pd.read_parquet(tmp_path / "served")
        pd.testing.assert_frame_equal(got[[*expected]], expected, check_exact=True)
        registry.resolve(name, "champion").fetch()  # what MLflow left in the folder is no part of the model
    assert [*answers["multiclass"]] == ["probabilities", "label", "confidence"]


@pytest.mark.slow
def test_a_changed_folder_is_refused_and_a_pulled_one_loads(
    settings: Settings, tmp_path: Path, empty_registry: Path
) -> None:
    with unwarned("mlflow"):
        import mlflow.pyfunc

    registry = Registry(settings)
    place = registered(registry, tmp_path / "multiclass", "multiclass")
    digest = registry.resolve("multiclass", 1).digest
    sharing.push(registry, "multiclass", "1", str(tmp_path / "shared"))
    other = at(tmp_path / "other")
    other.state.mkdir(parents=True)
    shutil.copyfile(empty_registry, other.state / "mlflow.db")
    sharing.pull(Registry(other), "multiclass", digest, str(tmp_path / "shared"))
    pulled = Registry(other).resolve("multiclass", 1).path
    model = mlflow.pyfunc.load_model(str(pulled))
    pd.testing.assert_frame_equal(model.predict(FRAME), served(place, FRAME), check_exact=True)
    assert model.metadata.metadata["digest"] == digest
    wanted = {each.name: each.required for each in model.metadata.signature.inputs}
    assert wanted == {field.name: not field.optional for field in FIELDS}
    assert [each.name for each in model.metadata.signature.outputs] == ["probabilities", "label", "confidence"]
    pinned = (place / folder.REQUIREMENTS).read_text().split()
    assert f"numpy=={np.__version__}" in pinned and not any(line.startswith(("hallmark", "torch")) for line in pinned)
    (place / "features.py").write_text("raise SystemExit('this must not run')")
    with pytest.raises(ModelRefused, match=r"features\.py of the model was changed"):
        mlflow.pyfunc.load_model(str(place))


def test_the_travelling_code_is_what_the_loader_and_the_domain_import_and_no_more(tmp_path: Path) -> None:
    plain, _ = mlmodel.closure([b"import numpy"])
    photos, libraries = mlmodel.closure([b"def encode(columns):\n    from hallmark.features import image\n"])
    names = {path.name for path in photos} - {path.name for path in plain}
    assert names == {"image.py", "cores.py"} and "PIL" in libraries
    assert not [path for path in plain if {"training", "registry", "cli", "rollout"} & set(path.parts)]
