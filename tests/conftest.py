"""Fixtures that all tests share: an empty registry, one trained version of fraud, and an order in which the long files do not come last."""

from __future__ import annotations

import gc
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests import skips

if TYPE_CHECKING:
    from tests.domains.search.small import Small
    from tests.hallmark.rollout.candidates import Trained

ROOT = Path(__file__).parents[1]
FIRST = (
    "hallmark/rollout/test_steps.py",
    "hallmark/training/test_run.py",
    "toy/test_tasks.py",
    "hallmark/rollout/test_calibration.py",
    "hallmark/cli/test_drill.py",
    "hallmark/drift/test_false_alarms.py",
    "hallmark/rollout/test_rollouts.py",
    "hallmark/training/test_runs_here.py",
    "hallmark/training/test_precision.py",
    "domains/listing/test_model.py",
    "hallmark/registry/test_trouble.py",
    "inference_services/drift_monitor/test_process.py",
    "inference_services/runtime/test_fuzz.py",
    "hallmark/drift/test_verdict.py",
)
"""The files of half a minute and more, those that wait beside those that compute: a worker takes a file whole, so none comes last."""


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("few", max_examples=25, deadline=None, suppress_health_check=QUIET)
settings.register_profile("many", settings.get_profile("few"), max_examples=500, database=None)


def asks_for_slow(config: pytest.Config) -> bool:
    return re.match(r"slow\b", config.option.markexpr) is not None


def pytest_configure(config: pytest.Config) -> None:
    """Let tests find the programs that were installed beside Python, whether or not its folder is on the PATH; watch skips in CI.

    pytest-xdist tells its workers of a terminal of 80 columns; what these tests print to is none.
    """
    os.environ.pop("COLUMNS", None)
    beside = str(Path(sys.executable).parent)
    if beside not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = f"{beside}{os.pathsep}{os.environ['PATH']}"
    skips.configure(config)
    gc.disable()  # until all is imported, which stays
    settings.load_profile("many" if asks_for_slow(config) else "few")


def pytest_collection_finish() -> None:
    """Keep what was imported and collected out of Python's collector, which would take seconds to go through it, a hundred times.

    It goes through all that has come since a fiftieth as often as it would.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the files by `FIRST`, the others after them as they were; within a file nothing moves.

    A test marked `examples` is among the slow ones too, where those are asked for: it has many examples then.
    """
    for item in items if asks_for_slow(config) else ():
        if item.get_closest_marker("examples"):
            item.add_marker("slow")
            item.add_marker(pytest.mark.timeout(900))
    places = {ROOT / "tests" / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of a run that asks for one mark first, such as `-m "serial and …"`, only the files that have it: importing all takes 15 s."""
    wanted = re.match(r"(serial|slow)\b(?! or)", config.option.markexpr)
    if wanted is None or collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    marks = f"mark.{'(slow|examples)' if wanted[1] == 'slow' else wanted[1]}\\b"
    return not re.search(marks, collection_path.read_text(encoding="utf-8")) or None


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that `make` fills, by the first worker that needs it. It is for all: copy what it holds, never change it."""
    from hallmark.files import locked

    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made, draft = shared / name, shared / f"{name}-draft"
    with locked(shared / f"{name}.lock", patience=600):
        if not made.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            make(draft)
            draft.rename(made)
    return made


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a registry that holds nothing, to copy; setting one up takes MLflow 3 s."""
    from hallmark.registry.store import Registry
    from hallmark.settings import Settings

    def make(folder: Path) -> None:
        Registry(Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(folder)}))._client()

    return once(tmp_path_factory, "registry", make) / "mlflow.db"


@pytest.fixture(scope="session")
def trained_fraud(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Trained:
    """Version 1 of fraud, to register wherever it is needed."""
    from hallmark.registry.store import Registry
    from hallmark.settings import Settings
    from tests.hallmark.rollout import candidates

    def make(folder: Path) -> None:
        state = folder / "state"
        settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(state)}).prepared()
        shutil.copyfile(empty_registry, state / "mlflow.db")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in settings.environment().items():
                patch.setenv(name, value)
            assert candidates.train(folder) == 1
        shutil.copytree(Registry(settings).resolve("fraud", 1).fetch(), folder / "version")

    return candidates.Trained(once(tmp_path_factory, "fraud", make) / "version", empty_registry)


@pytest.fixture(scope="session")
def small_search(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A small version of search with its index; its folder is for all."""
    from tests.domains.search import small

    return small.read(once(tmp_path_factory, "search", small.make))
