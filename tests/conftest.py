"""What all tests share: one trained version of fraud, and an order in which the long files do not come last."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.hallmark.rollout.candidates import Trained

ROOT = Path(__file__).parents[1]
FIRST = (
    "hallmark/rollout/test_steps.py",
    "hallmark/training/test_run.py",
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files by `FIRST`, the others after them as they were; within a file nothing moves."""
    places = {ROOT / "tests" / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def trained_fraud(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Version 1 of fraud, trained by the first worker that needs it. What it holds is for all: copy it, never change it."""
    from hallmark.registry.store import Registry
    from hallmark.settings import Settings
    from tests.hallmark.rollout import candidates

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made, draft = shared / "fraud", shared / "fraud-draft"
    with (shared / "fraud.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
            settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(draft / "state")})
            with pytest.MonkeyPatch.context() as patch:
                for name, value in settings.environment().items():
                    patch.setenv(name, value)
                Registry(settings.prepared())._client()
                shutil.copyfile(settings.state / "mlflow.db", draft / "empty.db")
                assert candidates.train(draft) == 1
            shutil.copytree(Registry(settings).resolve("fraud", 1).fetch(), draft / "version")
            draft.rename(made)
    return candidates.Trained(made / "version", made / "empty.db")
