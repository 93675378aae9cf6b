"""Build of the real controllers, and of their readers of configuration, from the Go module proxy: once for each change of a pin.

The pinned modules are under programs/. It happens before the tests, which run in a network namespace without a way out.

    python -m tests.conformance.build

The result lies in .hallmark/conformance: <folder of programs/>-<digest of its pins>/ with its programs, files-<digest>/<module>/ with the
objects that definitions.yaml names, and etcd-<digests>/ with the definitions among them as an API server has taken them. Everything is taken by its sum, so it is the same everywhere.
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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from hallmark.errors import HallmarkError
from hallmark.files import locked

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROGRAMS = HERE / "programs"
DEFINITIONS = HERE / "definitions.yaml"
CACHE = ROOT / ".hallmark" / "conformance"
NAMES = {
    "llmisvc": "kserve-llm-manager",
    "manager": "kserve-manager",
    "trainer-controller-manager": "trainer",
    "webhook": "knative-webhook",
}
"""What a program is called here, where upstream's name for it says too little."""


@functools.cache
def folder(name: str) -> Path:
    """Where the programs of programs/<name> are, for its pins as they are; it is there once it is complete."""
    source = PROGRAMS / name
    ours = re.findall(r"=> (\.\./\S+)$", (source / "go.mod").read_text(encoding="utf-8"), re.M)
    parts = [path for each in (".", *ours) for path in sorted((source / each).resolve().iterdir()) if path.is_file()]
    return CACHE / f"{name}-{_digest(*parts)}"


@functools.cache
def files() -> Path:
    """Where the files that definitions.yaml names are; it is there once it is complete."""
    pins = {PROGRAMS / each["program"] / "go.mod" for each in _definitions() if "program" in each}
    return CACHE / f"files-{_digest(DEFINITIONS, *sorted(pins))}"


@functools.cache
def definitions() -> Path:
    """Where an etcd's data with every definition in it is, for this API server and these files (control_plane.py makes it)."""
    return CACHE / f"etcd-{folder('kubernetes').name.rpartition('-')[2]}-{files().name.rpartition('-')[2]}"


def complete() -> bool:
    """Is everything there that was built?"""
    return all(path.is_dir() for path in (files(), *(folder(each.name) for each in PROGRAMS.iterdir())))


def program(name: str) -> str:
    """The path of a built program."""
    (found,) = [path for each in PROGRAMS.iterdir() if (path := folder(each.name) / name).is_file()]
    return str(found)


def documents(pattern: str) -> Iterator[dict[str, Any]]:
    """The objects in the kept files that match `pattern`, a glob that begins with the module and ends in .json."""
    for path in sorted(files().glob(pattern)):
        yield from json.loads(path.read_text(encoding="utf-8"))


def go_version() -> str:
    """The oldest Go that the modules take."""
    found = [re.search(r"^go (\S+)$", path.read_text(encoding="utf-8"), re.M) for path in PROGRAMS.glob("*/go.mod")]
    return max(each[1] for each in found if each)


def build() -> Path:
    """Make what is not there yet; what older pins left goes."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / "lock", patience=3600):
        wanted: dict[Path, Callable[[Path], None]] = {
            folder(each.name): functools.partial(_compile, each) for each in sorted(PROGRAMS.iterdir())
        }
        for older in CACHE.glob("draft*"):
            shutil.rmtree(older)
        # Two at once: while one fetches its modules or links, which takes one core, the other compiles.
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(_make, wanted, wanted.values()))
        wanted[files()] = _keep_all
        _make(files(), _keep_all)
        for older in CACHE.iterdir():
            if older.is_dir() and older not in wanted and older != definitions():
                shutil.rmtree(older)
            elif older.name.startswith("config-"):  # a reader, as they lay until November 2026
                older.unlink()
    return CACHE


def _make(place: Path, make: Callable[[Path], None]) -> None:
    """Make a folder, which is there once it is whole."""
    if not place.is_dir():
        draft = CACHE / f"draft-{place.name}"
        make(draft)
        draft.rename(place)


def reader(name: str) -> str:
    """The program by which a controller's configuration is read with the controller's own loader: main.go beside the pins of its module."""
    return program(f"{name}-reader")


def _digest(*pins: Path) -> str:
    found = hashlib.sha256(f"{platform.system()}-{platform.machine()}".encode())
    for path in pins:
        found.update(path.relative_to(HERE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def _definitions() -> list[dict[str, Any]]:
    return list(yaml.safe_load(DEFINITIONS.read_text(encoding="utf-8")))


def _compile(source: Path, to: Path) -> None:
    """Build the tools that a module names. Kubernetes takes its own version from the linker."""
    to.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    tools = json.loads(_go("mod", "edit", "-json", folder=source))["Tool"]
    version = re.search(r"k8s\.io/kubernetes v((\d+)\.(\d+)\S+)", (source / "go.mod").read_text(encoding="utf-8"))
    stamp = "k8s.io/component-base/version.git"
    flags = "-s -w"
    if version:
        flags += f" -X {stamp}Version=v{version[1]} -X {stamp}Major={version[2]} -X {stamp}Minor={version[3]}"
    wanted = {each["Path"]: each["Path"].rpartition("/")[2] for each in tools}
    if (source / "main.go").is_file():
        wanted["."] = f"{source.name}-reader"
    for package, name in wanted.items():
        _go("build", "-trimpath", "-ldflags", flags, "-o", str(to / NAMES.get(name, name)), package, folder=source)
    sys.stderr.write(f"built {source.name} in {time.monotonic() - started:.0f} s\n")


def _keep_all(to: Path) -> None:
    for each in _definitions():
        _keep(each, to / each["module"])


def _keep(wanted: dict[str, Any], to: Path) -> None:
    """Keep the objects in the files of a module that definitions.yaml names, as JSON: their YAML takes 12 s to read.

    What is no YAML stays as it is, under the name of its stem and `.template`.
    """
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
    for pattern in wanted.get("files", []):
        paths = sorted(source.glob(pattern))
        if not paths:
            raise HallmarkError(f"{module} has no {pattern}", fix="mend tests/conformance/definitions.yaml")
        for path in paths:
            place = to / path.relative_to(source)
            if path.suffix == ".yaml":
                _write(path.read_text(encoding="utf-8"), place.with_suffix(".json"))
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place.with_suffix(".template"))
    for folder in wanted.get("builds", []):
        done = subprocess.run(["kubectl", "kustomize", source / folder], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise HallmarkError(f"{module}/{folder} cannot be built", got=done.stderr.strip()[-1000:])
        _write(done.stdout, to / f"{folder}.json")


def _write(text: str, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    read = yaml.load_all(text, Loader=yaml.CSafeLoader)
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
    from tests.conformance import control_plane

    try:
        sys.stderr.write(f"{build().relative_to(ROOT)}\n")
        control_plane.kept()
    except HallmarkError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
