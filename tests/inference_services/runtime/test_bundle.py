"""Rows 11, 12 and 13 of the faults: a model folder is what was released, to the byte, or nothing of it is loaded."""

from __future__ import annotations

import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from served import ROOT, Server, linear, orders_folder

from hallmark.artifacts import bundle
from hallmark.artifacts.folder import seal, verify
from hallmark.errors import ModelRefused
from inference_services.runtime.model import Model


def mutate(folder: Path, rng: random.Random) -> str:
    """Flip a bit of a file, cut it, or swap it with another's content; says which."""
    files = sorted(path for path in folder.iterdir() if path.name != "model_card.json")
    path = rng.choice(files)
    data = bytearray(path.read_bytes())
    kind = rng.choice(("flip", "cut", "swap"))
    if kind == "flip":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[rng.randrange(len(data)) :]
    else:
        data = bytearray(rng.choice([other for other in files if other != path]).read_bytes())
    path.write_bytes(data)
    return f"{kind} {path.name}"


def test_200_of_200_mutations_are_refused(orders: tuple[Path, str], tmp_path: Path) -> None:
    rng = random.Random(11)
    for turn in range(200):
        folder = tmp_path / str(turn)
        shutil.copytree(orders[0], folder)
        what = mutate(folder, rng)
        with pytest.raises(ModelRefused):
            bundle.read(folder, expected=orders[1])
            pytest.fail(what)
        shutil.rmtree(folder)


def test_agrees_with_the_registry(orders: tuple[Path, str]) -> None:
    assert bundle.read(orders[0], expected=orders[1]).digest == verify(orders[0], expected=orders[1])


def test_a_whole_folder_of_another_model_is_refused(tmp_path: Path, orders: tuple[Path, str]) -> None:
    orders_folder(tmp_path / "other")
    (tmp_path / "other" / "features.py").write_text("def encode(columns): return columns\n", encoding="utf-8")
    seal(tmp_path / "other")
    with pytest.raises(ModelRefused, match="not the one that was released"):
        bundle.read(tmp_path / "other", expected=orders[1])


def _add_pickle(folder: Path, trap: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            import os

            return os.system, (f"touch {trap}",)

    (folder / "model.pkl").write_bytes(pickle.dumps(Trap()))


@pytest.mark.parametrize("sealed", [False, True])
def test_a_pickle_is_never_loaded(tmp_path: Path, sealed: bool) -> None:
    digest = orders_folder(tmp_path / "model")
    _add_pickle(tmp_path / "model", tmp_path / "executed")
    if sealed:
        digest = seal(tmp_path / "model")
    with pytest.raises(ModelRefused, match=r"model\.pkl"):
        bundle.read(tmp_path / "model", expected=digest)
    assert not (tmp_path / "executed").exists()


def test_a_pickle_under_an_allowed_name_is_not_executed(tmp_path: Path) -> None:
    orders_folder(tmp_path / "model")
    _add_pickle(tmp_path / "model", tmp_path / "executed")
    (tmp_path / "model" / "model.pkl").replace(tmp_path / "model" / "model.onnx")
    with pytest.raises(ModelRefused):
        Model("orders", bundle.read(tmp_path / "model", expected=seal(tmp_path / "model")))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("where", ["initializer", "attribute", "subgraph", "sparse"])
def test_external_data_is_refused(tmp_path: Path, where: str) -> None:
    import onnx
    from onnx import TensorProto, helper

    (tmp_path / "outside").write_bytes(b"\0" * 4096)
    model = onnx.load_from_string(linear(9, 1))
    tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[9, 1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(tmp_path / "outside"))
    if where == "initializer":
        model.graph.initializer[0].CopyFrom(tensor)
    elif where == "attribute":
        model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    elif where == "subgraph":
        inner = helper.make_graph([], "inner", [], [], [tensor])
        model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner))
    else:
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    orders_folder(tmp_path / "model")
    (tmp_path / "model" / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelRefused, match="other files"):
        bundle.read(tmp_path / "model", expected=seal(tmp_path / "model"))


def test_external_data_is_not_opened_by_the_process(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto

    orders_folder(tmp_path / "model")
    model = onnx.load_from_string(linear(9, 1))
    (tmp_path / "outside").write_bytes(model.graph.initializer[0].raw_data)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../outside")
    (tmp_path / "model" / "model.onnx").write_bytes(model.SerializeToString())
    seal(tmp_path / "model")
    program = (
        "import sys\n"
        "sys.addaudithook(lambda name, args: name == 'open' and print('opened', args[0]))\n"
        "from inference_services.runtime.__main__ import main\n"
        f"sys.exit(main(['--model-name=x', '--model-dir={tmp_path / 'model'}', '--http-port=0']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "outside" not in done.stdout
    assert "keeps weights in other files" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("model", [b"", b"\x08\x0a", b"ORTMORTMORTM", b"\xff" * 20, linear(9, 1)[:-1]], ids=range(5))
def test_what_is_no_onnx_model_is_refused(model: bytes) -> None:
    with pytest.raises(ModelRefused):
        bundle.self_contained(model)


def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    digest = orders_folder(tmp_path / "model")
    (tmp_path / "model" / "model.onnx").rename(tmp_path / "elsewhere")
    (tmp_path / "model" / "model.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelRefused, match=r"model\.onnx"):
        bundle.read(tmp_path / "model", expected=digest)


def test_what_is_loaded_is_what_was_hashed(tmp_path: Path) -> None:
    digest = orders_folder(tmp_path / "model")
    verified = bundle.read(tmp_path / "model", expected=digest)
    (tmp_path / "model" / "features.py").write_text("raise SystemExit(99)", encoding="utf-8")
    (tmp_path / "model" / "model.onnx").write_bytes(b"")
    model = Model("orders", verified)
    assert model.predict(model.schema.example(2), 2)["score"].shape == (2,)


def test_a_signature_that_the_graph_does_not_keep_is_refused(tmp_path: Path) -> None:
    orders_folder(tmp_path / "model")
    path = tmp_path / "model" / "signature.json"
    path.write_text(path.read_text().replace('"score"', '"other"'), encoding="utf-8")
    with pytest.raises(ModelRefused, match="does not fit its signature"):
        Model("orders", bundle.read(tmp_path / "model", expected=seal(tmp_path / "model")))


def test_a_refused_folder_is_one_line_and_exit_code_3(tmp_path: Path, start: Callable[..., Server]) -> None:
    orders_folder(tmp_path / "model")
    server = start(tmp_path / "model", "orders", env={"HALLMARK_MODEL_DIGEST": "sha256:" + "0" * 64})
    _, errors = server.process.communicate(timeout=20)
    assert server.process.returncode == 3
    assert len(errors.splitlines()) == 1
    assert errors.startswith("ModelRefused: the model is not the one that was released")
