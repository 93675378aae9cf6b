"""Build of the real controllers, and of their readers of configuration, from the Go module proxy: once for each change of a pin.

The pinned modules are under programs/ and config/. It happens before the tests, which run in a network namespace without a way out.

    python -m tests.conformance.build

The result lies in .hallmark/conformance/<digest of the pins>: bin/ with a program each, and files/<module>/ with the objects
that definitions.yaml names. Everything is taken by its sum, so it is the same everywhere.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from hallmark.errors import HallmarkError
from hallmark.files import locked

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROGRAMS = HERE / "programs"
LOADERS = HERE / "config"
DEFINITIONS = HERE / "definitions.yaml"
CACHE = ROOT / ".hallmark" / "conformance"
NAMES = {"manager": "kserve-manager", "webhook": "knative-webhook"}
"""What a program is called here, where upstream's name for it says too little."""


def pins() -> list[Path]:
    """The files that the result depends on."""
    return [DEFINITIONS, *sorted(PROGRAMS.glob("*/go.*"))]


@functools.cache
def current() -> Path:
    """The folder of the result for the pins as they are; it is there once it is complete."""
    digest = hashlib.sha256(f"{platform.system()}-{platform.machine()}".encode())
    for path in pins():
        digest.update(path.relative_to(HERE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return CACHE / digest.hexdigest()[:16]


def program(name: str) -> str:
    """The path of a built program."""
    return str(current() / "bin" / name)


def documents(pattern: str) -> Iterator[dict[str, Any]]:
    """The objects in the kept files that match `pattern`, a glob that begins with the module and ends in .json."""
    for path in sorted((current() / "files").glob(pattern)):
        yield from json.loads(path.read_text(encoding="utf-8"))


def go_version() -> str:
    """The oldest Go that the modules take."""
    found = [re.search(r"^go (\S+)$", path.read_text(encoding="utf-8"), re.M) for path in PROGRAMS.glob("*/go.mod")]
    return max(each[1] for each in found if each)


def build() -> Path:
    """Make what is not there yet; what older pins left goes."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / "lock", patience=3600):
        wanted = current()
        if not wanted.is_dir():
            draft = CACHE / "draft"
            shutil.rmtree(draft, ignore_errors=True)
            for folder in sorted(PROGRAMS.iterdir()):
                _compile(folder, draft / "bin")
            for each in yaml.safe_load(DEFINITIONS.read_text(encoding="utf-8")):
                _keep(each, draft / "files" / each["module"])
            for older in CACHE.iterdir():
                if older.is_dir() and older != draft:
                    shutil.rmtree(older)
            draft.rename(wanted)
        loaders = {loader(folder.name): folder for folder in sorted(LOADERS.iterdir())}
        for made, folder in loaders.items():
            if not made.exists():
                _load(folder, made)
        for older in set(CACHE.glob("config-*")) - set(loaders):
            older.unlink()
    return wanted


def loader(name: str) -> Path:
    """The program of config/<name>, a controller's own reader of its configuration; it is there once it was built."""
    sources = sorted(path for path in (LOADERS / name).iterdir() if path.is_file())
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    return CACHE / f"config-{name}-{digest}"


def _load(folder: Path, to: Path) -> None:
    started = time.monotonic()
    being = to.with_suffix(".draft")
    _go("build", "-o", str(being), ".", folder=folder)
    being.replace(to)
    sys.stderr.write(f"built the reader of {folder.name}'s configuration in {time.monotonic() - started:.0f} s\n")


def _compile(folder: Path, to: Path) -> None:
    """Build the tools that a module names. Kubernetes takes its own version from the linker."""
    to.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    tools = json.loads(_go("mod", "edit", "-json", folder=folder))["Tool"]
    version = re.search(r"k8s\.io/kubernetes v((\d+)\.(\d+)\S+)", (folder / "go.mod").read_text(encoding="utf-8"))
    stamp = "k8s.io/component-base/version.git"
    flags = "-s -w"
    if version:
        flags += f" -X {stamp}Version=v{version[1]} -X {stamp}Major={version[2]} -X {stamp}Minor={version[3]}"
    for package in (each["Path"] for each in tools):
        name = package.rpartition("/")[2]
        _go("build", "-trimpath", "-ldflags", flags, "-o", str(to / NAMES.get(name, name)), package, folder=folder)
    sys.stderr.write(f"built {folder.name} in {time.monotonic() - started:.0f} s\n")


def _keep(wanted: dict[str, Any], to: Path) -> None:
    """Keep the objects in the files of a module that definitions.yaml names, as JSON: their YAML takes 12 s to read."""
    module = wanted["module"]
    if "program" in wanted:
        source = Path(_go("list", "-m", "-f", "{{.Dir}}", module, folder=PROGRAMS / wanted["program"]).strip())
    else:
        found = json.loads(_go("mod", "download", "-json", f"{module}@{wanted['version']}", folder=PROGRAMS))
        if found["Sum"] != wanted["sum"]:
            raise HallmarkError(
                f"{module} {wanted['version']} is not what it was",
                expected=wanted["sum"],
                got=found["Sum"],
                fix="find out why before you change tests/conformance/definitions.yaml",
            )
        source = Path(found["Dir"])
    for pattern in wanted["files"]:
        paths = sorted(source.glob(pattern))
        if not paths:
            raise HallmarkError(f"{module} has no {pattern}", fix="mend tests/conformance/definitions.yaml")
        for path in paths:
            place = (to / path.relative_to(source)).with_suffix(".json")
            place.parent.mkdir(parents=True, exist_ok=True)
            read = yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
            place.write_text(json.dumps([each for each in read if each]), encoding="utf-8")


def _go(*arguments: str, folder: Path) -> str:
    """Output of a go command. Modules as pinned: nothing may change go.mod or go.sum, and no other toolchain is fetched."""
    environment = {**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
    done = subprocess.run(["go", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HallmarkError(
            f"go {arguments[0]} failed in {folder.relative_to(ROOT)}",
            got=(done.stderr.strip() or done.stdout.strip())[-1000:],
            fix="it needs the Go module proxy, or a module cache that holds everything already",
        )
    return done.stdout


def main() -> int:
    """Build, and say where the result is."""
    try:
        sys.stderr.write(f"{build().relative_to(ROOT)}\n")
    except HallmarkError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
