"""A model folder with a reference to compare with, and monitors on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hallmark.artifacts import folder as folders
from hallmark.artifacts.signature import Signature
from hallmark.drift import profile
from hallmark.features.fields import Output
from hallmark.tasks import Binary

sys.path.insert(0, str(Path(__file__).parent))  # importmode=importlib puts no test folder on the path

from sidecar import FEATURES, ROOT, Sidecar, draw, free_port, onnx_model, wait_ready


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "shop"
    folder.mkdir()
    (folder / "features.py").write_text(FEATURES, encoding="utf-8")
    made: dict[str, Any] = {}
    exec(FEATURES, made)  # noqa: S102
    columns, scores = draw(5000, seed=1)
    (folder / "profile.json").write_text(profile.build(columns, scores=scores).model_dump_json(), encoding="utf-8")
    output = Output(name="score", datatype="FP32", minimum=0, maximum=1)
    signature = Signature(domain="shop", task=Binary(), fields=made["FIELDS"], outputs=(output,))
    (folder / "signature.json").write_text(signature.model_dump_json(), encoding="utf-8")
    (folder / "model.onnx").write_bytes(onnx_model())
    folders.seal(folder)
    return folder


@pytest.fixture
def model(sealed: Path, tmp_path: Path) -> Path:
    """A model folder of one's own, to break."""
    return Path(shutil.copytree(sealed, tmp_path / "model"))


@pytest.fixture
def start(sealed: Path, tmp_path: Path) -> Iterator[Callable[..., Sidecar]]:
    """Start a monitor; it is stopped at the end."""
    running: list[Sidecar] = []

    def begin(*arguments: str, config: str = "{}", environment: dict[str, str] | None = None) -> Sidecar:
        port = free_port()
        path = tmp_path / "serving.json"
        path.write_text(f'{{"drift": {config}}}', encoding="utf-8")
        command = [sys.executable, "-m", "inference_services.drift_monitor", "--model-dir", str(sealed)]
        command += ["--host=127.0.0.1", f"--port={port}", "--config", str(path), *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, env={**os.environ, **(environment or {})})
        sidecar = Sidecar(process, port)
        running.append(sidecar)
        wait_ready(sidecar)
        return sidecar

    yield begin
    for sidecar in running:
        sidecar.client.close()
        sidecar.process.terminate()
        sidecar.process.communicate(timeout=20)
