"""The images without a container engine: what each stage copies suffices for its program, and its extra for what that imports."""

from __future__ import annotations

import ast
import fnmatch
import json
import os
import re
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGES = site.getsitepackages()[0]
OURS = {"hallmark", "components", "pipelines", "domains", "inference_services"}
STAGES = ("training-python", "serving", "drift", "platform")


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """The instructions of a Dockerfile, continued lines as one."""
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    for line in joined.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), " ".join(rest.split())


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, those of the stages that it builds on first."""
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for word, rest in instructions((ROOT / "Dockerfile").read_text()):
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            current = found[name] = list(found.get(base, []))
        else:
            current.append((word, rest))
    return found


def ignored(path: str) -> bool:
    """True where .dockerignore keeps this file out: the last line that fits it, or a folder above it, decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        wanted = pattern.removeprefix("!")
        parts = path.split("/")
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        loose = wanted.removeprefix("**/")
        fits = any(
            fnmatch.fnmatchcase(each, wanted) or (loose != wanted and fnmatch.fnmatchcase(each.split("/")[-1], loose))
            for each in above
        )
        if fits:
            out = not pattern.startswith("!")
    return out


def built(stage: str, folder: Path) -> Path:
    """Files in /app of this stage."""
    for word, rest in stages()[stage]:
        if word != "COPY" or rest.startswith("--from"):
            continue
        *sources, target = rest.split()
        for source in sources:
            here = ROOT / source
            assert here.exists(), f"{stage} copies {source}, which is not there"
            files = [here] if here.is_file() else [each for each in here.rglob("*") if each.is_file()]
            kept = [each for each in files if not ignored(each.relative_to(ROOT).as_posix())]
            assert kept, f"{stage} copies {source}, which .dockerignore keeps out"
            for each in kept:
                beside = each.relative_to(here) if here.is_dir() else here.name if target.endswith("/") else ""
                where = folder / target / beside
                where.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(each, where)
    return folder


def environment(stage: str, folder: Path) -> dict[str, str]:
    """The stage's own variables, its /app here; no .pth file is read, so that nothing is found in the checkout."""
    found = {"PATH": os.environ["PATH"]}
    for word, rest in stages()[stage]:
        if word == "ENV":
            found |= dict(re.findall(r"(\w+)=(\S+)", rest))
    scratch = folder.with_name(f"{folder.name}-tmp")
    scratch.mkdir(exist_ok=True)
    here = {"/app": str(folder), "/tmp": str(scratch)}
    found = {name: re.sub("/app|/tmp", lambda place: here[place[0]], value) for name, value in found.items()}
    return found | {"PATH": os.environ["PATH"], "PYTHONPATH": f"{folder}{os.pathsep}{PACKAGES}"}


def entrypoint(stage: str) -> list[str]:
    (found,) = [rest for word, rest in stages()[stage] if word == "ENTRYPOINT"]
    words: list[str] = json.loads(found)  # exec form: signals reach the program
    return words


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {stage: built(stage, tmp_path_factory.mktemp("images") / stage / "app") for stage in STAGES}


def run(stage: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, env=environment(stage, folder), cwd=folder, capture_output=True, text=True)


def files(folder: Path) -> set[Path]:
    return {each for each in folder.rglob("*") if each.is_file()}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_program_starts_with_what_is_copied_and_writes_nothing_beside_it(
    stage: str, images: dict[str, Path]
) -> None:
    folder = images[stage]
    before = files(folder)
    python, *arguments = entrypoint(stage)
    assert python == "python"
    done = run(stage, folder, *arguments, "--help")
    assert done.returncode == 0 and "usage" in done.stdout.lower(), done.stderr
    assert files(folder) == before


MODULES = {
    "training-python": (
        "components",
        "pipelines",
        "hallmark.training",
        "hallmark.registry",
        "hallmark.data",
        "hallmark.feature_store",
        "domains",
    ),
    "serving": ("inference_services", "hallmark.feature_store.online"),
    "drift": ("inference_services",),
    "platform": (
        *("hallmark.feature_store", "hallmark.cli.features"),
        *("hallmark.rollout", "hallmark.registry", "hallmark.cli.watch", "hallmark.training.kubeflow"),
        *("hallmark.remote", "hallmark.render", "hallmark.lint", "hallmark.ui", "hallmark.cli.ui", "hallmark.tco"),
    ),
}
"""What a stage is there for: all of it is imported."""
_TASKS = dict.fromkeys(
    ("pandas", "scipy", "sklearn"), "hallmark.tasks: metrics and targets of frames, which only a training asks for"
)
_SQL = dict.fromkeys(("duckdb", "sqlglot"), "hallmark.declaration.expression: a signature holds what was read from it")
ELSEWHERE = {
    "serving": _TASKS | _SQL,
    "drift": _TASKS
    | _SQL
    | {"pyarrow": "hallmark.declaration.column_type: types of what is stored, which no server asks for"},
    "training-python": {
        "httpx": "hallmark.remote: of whoever hands trainings in, not of the steps",
    },
    "platform": {
        "safetensors": "hallmark.drift.embedding: written by the steps, read by the drift monitor",
        "pyiceberg": "hallmark.feature_store.iceberg: training sets, which a training's steps keep",
    },
}
"""What a stage's modules import inside functions that its program never calls, and why."""
IMPORT = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
print("\\n".join(sorted({m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)})))
"""


def loaded(stage: str, folder: Path) -> list[Path]:
    """Our files that importing all of a stage brings in."""
    done = run(stage, folder, "-c", IMPORT, *MODULES[stage])
    assert done.returncode == 0, done.stderr[-2000:]
    return [Path(line) for line in done.stdout.splitlines() if Path(line).is_relative_to(folder)]


def imports(path: Path) -> Iterator[str]:
    """Imports of a file, at its top or inside a function; what is for type checkers alone is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def requirements(stage: str) -> list[str]:
    """Source of the stage's packages: .ci/requirements with the words of the Dockerfile."""
    (packages,) = [
        rest.split()[0].removeprefix("--from=")
        for word, rest in stages()[stage]
        if word == "COPY" and rest.startswith("--from")
    ]
    (asked,) = re.findall(
        r"python requirements (.+?) >", " ".join(rest for word, rest in stages()[packages] if word == "RUN")
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "requirements"), *asked.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def closure(wanted: list[str]) -> set[str]:
    """The distributions that come with these requirements, by what is installed here."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(each) for each in wanted]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in found:
                continue
            found.add((name, extra))
            for text in metadata.requires(name) or []:
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)
    return {name for name, _ in found}


def test_what_computes_feature_views_has_their_declarations_and_what_serves_has_them_with_the_model(
    images: dict[str, Path],
) -> None:
    declared = {f"{path.parent.name}@{path.stem[1:]}" for path in (ROOT / "features").glob("*/v*.yaml")}
    assert declared
    for stage in ("platform", "training-python"):
        done = run(stage, images[stage], "-c", DECLARED)
        assert done.returncode == 0, done.stderr[-2000:]
        assert set(done.stdout.split()) == declared
    for stage in ("serving", "drift"):
        assert not any((images[stage] / folder).exists() for folder in ("features", "contracts"))


DECLARED = """
from hallmark.declaration import feature_view, source, view_types
from hallmark.settings import Settings
settings = Settings.load()
for reference in feature_view.references(settings):
    view = feature_view.load(reference, settings)
    view_types.view_types(view, source.load(view.source, settings))
    print(reference)
"""


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_requirements_cover_what_its_modules_import(stage: str, images: dict[str, Path]) -> None:
    known, ours = closure(requirements(stage)), loaded(stage, images[stage])
    assert len(ours) > 5
    of = metadata.packages_distributions()
    foreign = {
        name: path
        for path in ours
        for name in imports(path)
        if name not in sys.stdlib_module_names and name not in OURS and name != "__future__"
    }
    assert foreign
    missing = {
        name: path.name
        for name, path in foreign.items()
        if not {canonicalize_name(each) for each in of.get(name, [])} & known
    }
    assert set(missing) == set(ELSEWHERE.get(stage, {})), missing


def test_a_requirement_that_is_missing_is_seen() -> None:
    assert "fastapi" in closure(["kserve==0.21.0"])
    assert not {"kserve", "fastapi", "pandas", "torch"} & closure(requirements("serving"))
    assert "mlflow" in closure(requirements("platform")) and "mlflow" not in closure(requirements("drift"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_as_a_user_by_number_that_is_not_root_and_says_what_it_is(stage: str) -> None:
    found = stages()[stage]
    *_, user = [rest for word, rest in found if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    labels = " ".join(rest for word, rest in found if word == "LABEL")
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in labels
    assert "HEALTHCHECK" not in [word for word, _ in found]
    variables = environment(stage, Path("/app"))
    assert variables["PYTHONDONTWRITEBYTECODE"] == "1" and "tmp" in variables["HOME"]


def test_the_user_is_the_one_that_the_steps_ask_for() -> None:
    from hallmark.training.pods import USER

    for stage in STAGES:
        assert ("USER", f"{USER}:{USER}") in stages()[stage]


def test_the_programs_are_those_that_the_cluster_calls() -> None:
    (runtime,) = [
        each
        for each in yaml.safe_load_all((ROOT / "inference_services/runtime/servingruntime.yaml").read_text())
        if each["kind"] == "ClusterServingRuntime"
    ]
    called = {each["image"].split("/")[1].split(":")[0]: each["command"] for each in runtime["spec"]["containers"]}
    assert called["serving"] == entrypoint("serving") and called["drift"] == entrypoint("drift")
    from components.training import load

    command = load.component_spec.implementation.container.command
    assert " ".join(entrypoint("training-python")[1:]) in " ".join(command)


def test_no_line_names_a_registry_and_the_base_can_be_pinned() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"https?://|pypi\.|download\.|docker\.io|ghcr\.|\.amazonaws\.", text)
    assert re.findall(r"^FROM (\S+)", text, re.M).count("${PYTHON_IMAGE}") == 2
    assert "latest" not in text and 'ARG EXTRA_INDEX=""' in text


def test_only_what_is_copied_reaches_the_engine() -> None:
    for path in (".git/config", ".venv/bin/python", "tests/test_images.py", ".hallmark/mlflow.db", "README.md"):
        assert ignored(path), path
    assert ignored("hallmark/__pycache__/domain.cpython-311.pyc") and ignored("domains/fraud/__pycache__/x.txt")
    of_views = ("features/device/v1.yaml", "contracts/orders/v1.yaml")
    for path in (
        "pyproject.toml",
        ".ci/requirements",
        "hallmark/declaration/domain.py",
        "domains/fraud/domain.yaml",
        *of_views,
    ):
        assert not ignored(path), path
    assert ignored(".ci/run")


def test_hadolint_finds_nothing() -> None:
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not here")
    done = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    bad = "FROM python\nRUN pip install numpy\n"
    assert subprocess.run(["hadolint", "-"], input=bad, capture_output=True, text=True).returncode != 0


def test_the_bill_of_materials_is_of_the_images_own_packages(tmp_path: Path) -> None:
    """`.ci/sbom` with a stand-in for the container engine, whose image holds two packages."""
    if shutil.which("cyclonedx-py") is None:
        pytest.skip("cyclonedx-py is not here")
    image = tmp_path / "image"
    image.mkdir()
    for name in ("pydantic", "typer"):
        (information,) = Path(PACKAGES).glob(f"{name}-*.dist-info")
        shutil.copytree(information, image / information.name)
    engine = tmp_path / "bin" / "docker"
    engine.parent.mkdir()
    engine.write_text(f'#!/bin/sh\ncase "$1" in create) echo made;; cp) cp -r {image} "$3";; rm) ;; *) exit 9;; esac\n')
    engine.chmod(0o755)
    variables = {
        **os.environ,
        "PATH": f"{engine.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        [str(ROOT / ".ci" / "sbom"), "hallmark/drift:1", str(tmp_path / "sbom.json")],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "sbom.json").read_text())
    assert told["bomFormat"] == "CycloneDX"
    assert {each["name"]: each["version"] for each in told["components"]} == {
        name: metadata.version(name) for name in ("pydantic", "typer")
    }
    assert all(each["purl"].startswith("pkg:pypi/") for each in told["components"])


def test_an_image_on_an_unpinned_python_is_not_pushed(tmp_path: Path) -> None:
    engine = tmp_path / "docker"
    engine.write_text(
        '#!/bin/sh\necho "$@" >> "$0.calls"\n[ "$1" = inspect ] && echo r/drift@sha256:1\ncat > /dev/null\nexit 0\n'
    )
    engine.chmod(0o755)
    variables = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "REGISTRY": "r.example/hallmark"}
    variables |= {"REGISTRY_USER": "ci", "REGISTRY_TOKEN": "t"}

    def push(**more: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / ".ci" / "push"), "drift", "abc"]
        return subprocess.run(command, env=variables | more, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    for image in ({}, {"PYTHON_IMAGE": "python:3.11-slim"}):
        refused = push(**image)
        assert refused.returncode == 2 and "expected PYTHON_IMAGE by digest" in refused.stderr
    assert not (tmp_path / "docker.calls").exists()
    done = push(PYTHON_IMAGE="python:3.11-slim@sha256:1")
    assert (done.returncode, done.stdout) == (0, "r/drift@sha256:1\n")
    assert "push --quiet r.example/hallmark/drift:abc" in (tmp_path / "docker.calls").read_text()
