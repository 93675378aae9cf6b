"""Clients of Java and Go as their standard libraries have them, against the server and the gateway."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


def talk(command: list[str], **environment: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, cwd=HERE, env={**os.environ, **environment}
    )
    assert (done.returncode, done.stdout.strip()) == (0, "fine"), done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("java") is None, reason="no JDK")
def test_java(url: str, bodies: tuple[Path, Path]) -> None:
    """Rows P6 and B12: it offers HTTP/2 with each connection's first request, and sends and takes gzip."""
    talk(["java", "-Xshare:auto", "Client.java", url, *map(str, bodies)])


@pytest.mark.skipif(shutil.which("go") is None, reason="no Go")
def test_go(url: str, bodies: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Row B12: it asks for gzip by itself, and keeps one connection."""
    program = tmp_path_factory.getbasetemp() / "go-client"
    if not program.exists():
        build = ["go", "build", "-o", str(program), "client.go"]
        local = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
        subprocess.run(build, cwd=HERE, env=local, check=True, timeout=280)
    talk([str(program), url, *map(str, bodies)])
