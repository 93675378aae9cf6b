"""The command line, the number of workers, and what a server costs to start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from served import ROOT, Server

from hallmark.cores import cores


def test_help_names_flags_environment_and_exit_codes() -> None:
    command = [sys.executable, "-m", "inference_services.runtime", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    for word in ("--model-name", "--capture-url", "HALLMARK_MODEL_DIGEST", "K_REVISION", "exit codes"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("text", "expected"), [("max 100000", None), ("150000 100000", 1), ("50000 100000", 1), ("9900000 100000", None)]
)
def test_workers_are_sized_by_the_containers_limit(tmp_path: Path, text: str, expected: int | None) -> None:
    (tmp_path / "cpu.max").write_text(text, encoding="ascii")
    assert cores(tmp_path / "cpu.max") == (expected or cores(tmp_path / "none"))


def test_a_process_in_a_containers_place_is_told_its_cores(tmp_path: Path) -> None:
    assert cores(tmp_path / "none", threads="1") == 1
    assert cores(tmp_path / "none", threads="10000") == cores(tmp_path / "none", threads="") == cores(tmp_path / "none")


def test_another_serving_config_than_was_released_is_refused(
    start: Callable[..., Server], orders: tuple[Path, str]
) -> None:
    server = start(orders[0], "orders", env={"HALLMARK_SERVING_CONFIG": "sha256:" + "0" * 64})
    assert server.process.wait(timeout=30) == 3


@pytest.mark.parametrize("flags", [["--workers=0"], ["--timeout=2"], ["--capture-url=ftp://x"]])
def test_wrong_flags_end_with_2(start: Callable[..., Server], orders: tuple[Path, str], flags: list[str]) -> None:
    server = start(orders[0], "orders", *flags)
    _, errors = server.process.communicate(timeout=20)
    assert server.process.returncode == 2
    assert "Traceback" not in errors


def test_a_provider_that_is_not_there_is_named(start: Callable[..., Server], orders: tuple[Path, str]) -> None:
    server = start(orders[0], "orders", provider="tensorrt")
    _, errors = server.process.communicate(timeout=20)
    assert server.process.returncode == 2
    assert "TensorrtExecutionProvider" in errors
    assert "--provider cpu" in errors


def test_a_port_that_is_taken_is_said(start: Callable[..., Server], orders: tuple[Path, str]) -> None:
    first = start(orders[0], "orders")
    first.wait_ready()
    second = start(orders[0], "orders", f"--http-port={first.http}")
    _, errors = second.process.communicate(timeout=20)
    assert second.process.returncode == 1
    assert "cannot listen" in errors.splitlines()[-1]


def test_serving_loads_no_sdk_and_no_training_library() -> None:
    program = (
        "import sys; import inference_services.transport.workers, inference_services.protocol.pb as pb; pb.protobufs();"
        "print([name for name in ('kserve', 'grpc', 'torch', 'pandas', 'mlflow', 'fastapi', 'kfp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
