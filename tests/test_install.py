"""`.ci/install`: the sets that it makes, what it tells uv of pip's configuration, and who does it where uv cannot."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from hallmark import extras

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_loader("install", SourceFileLoader("install", str(ROOT / ".ci" / "install")))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["install"] = module
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    spec.loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


def declared() -> dict[str, list[str]]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, list[str]] = project["optional-dependencies"]
    return found


def test_demo_and_install_together_make_every_extra_once_but_those_put_in_by_hand() -> None:
    demo, rest = (each.split() for each in re.findall(r"\.ci/install (.+)", (ROOT / "Makefile").read_text()))
    assert tuple(demo) == extras.DEMO
    assert sorted([*demo, *rest, *extras.BY_HAND]) == sorted(declared()) == sorted(extras.PURPOSES)


def test_torch_is_of_networks_alone() -> None:
    having = {extra for extra, lines in declared().items() if any(Requirement(each).name == "torch" for each in lines)}
    assert having == {"networks"}


def test_uv_is_told_what_pip_is_told(script: Any, tmp_path: Path) -> None:
    says = {
        "extra-index-url": ["https://one.example/simple", "https://two.example/simple"],
        "find-links": [str(tmp_path), str(tmp_path / "none"), "https://wheels.example"],
        "cert": ["/etc/ca.pem"],
        "default-timeout": ["180"],
        "no-index": ["0"],
        "quiet": ["1"],
    }
    found = script.uv(says)
    text = " ".join(found.command)
    assert "--index https://one.example/simple --index https://two.example/simple" in text
    assert f"--find-links {tmp_path} --find-links https://wheels.example" in text and "none" not in text
    assert "--no-index" not in text and "unsafe-best-match" in text
    assert found.environment == {"SSL_CERT_FILE": "/etc/ca.pem", "UV_HTTP_TIMEOUT": "180"}


@pytest.mark.parametrize("option", ["pre", "no-binary", "client-cert", "constraint", "require-hashes"])
def test_what_cannot_be_said_to_uv_is_left_to_pip(script: Any, option: str) -> None:
    assert script.uv({"index-url": ["https://one.example"], option: ["1"]}) is None


def test_pips_own_configuration_is_read(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = https://a.example\ntimeout = 9\n[install]\nfind-links =\n  /x\n  /y\n")
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_TIMEOUT", "30")
    found = script.configured()
    assert found["index-url"] == ["https://a.example"] and found["find-links"] == ["/x", "/y"]
    assert found["timeout"] == ["30"]


def test_pip_does_it_where_uv_cannot(script: Any, capfd: pytest.CaptureFixture[str]) -> None:
    broken = script.Installer("uv", (sys.executable, "-c", "raise SystemExit(1)"), {})
    works = script.Installer("pip", (sys.executable, "-c", "import os; print(os.environ['ASKED'])"), {"ASKED": "it"})
    script.install("training", ["numpy"], (broken, works))
    out, errors = capfd.readouterr()
    assert out == "it\n" and "uv could not install it" in errors
    with pytest.raises(SystemExit, match="every package of training"):
        script.install("training", ["numpy"], (broken,))


@pytest.mark.slow
def test_pip_in_a_fresh_environment_installs_a_wheel_of_the_configured_folder(tmp_path: Path) -> None:
    """The whole script, offline: no index has uv, so pip does it."""
    import zipfile

    wheels, root = tmp_path / "wheels", tmp_path / "root"
    wheels.mkdir()
    root.mkdir()
    with zipfile.ZipFile(wheels / "leaf-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("leaf.py", "VALUE = 7\n")
        wheel.writestr("leaf-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: leaf\nVersion: 1.0\n")
        wheel.writestr("leaf-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("leaf-1.0.dist-info/RECORD", "")
    (root / "constraints.txt").write_text("leaf==1.0\n")
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "whole"\nversion = "1"\ndependencies = []\n'
        '[project.optional-dependencies]\nsmall = ["leaf"]\n'
    )
    (root / "backend.py").write_text(
        "import zipfile\n"
        "def build_editable(folder, config_settings=None, metadata_directory=None):\n"
        "    name = 'whole-1-py3-none-any.whl'\n"
        "    with zipfile.ZipFile(f'{folder}/{name}', 'w') as wheel:\n"
        "        wheel.writestr('whole-1.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: whole\\nVersion: 1\\n')\n"
        "        wheel.writestr('whole-1.dist-info/WHEEL', 'Wheel-Version: 1.0\\nTag: py3-none-any\\n')\n"
        "        wheel.writestr('whole-1.dist-info/RECORD', '')\n"
        "    return name\n"
    )
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    command = [str(python), str(ROOT / ".ci" / "install"), "small"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()[:4]) for line in done.stdout.splitlines()]
    assert lines[0].startswith("✓ installer pip")
    assert lines[1:] == ["✓ small 1 packages", "✓ hallmark 1 packages"]
    asked = [str(python), "-c", "import leaf; print(leaf.VALUE)"]
    assert subprocess.run(asked, env=environment, capture_output=True).stdout == b"7\n"
    bytecode = next(python.parents[1].glob("lib/*/site-packages/__pycache__/leaf.*.pyc"))
    bytecode.unlink()
    told = environment | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=root, env=told, capture_output=True, text=True)
    assert done.returncode == 0 and bytecode.is_file() and "✓ bytecode" in done.stdout
