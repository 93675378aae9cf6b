"""Components follow from the steps: the step's own signature in Kubeflow's words, and one call."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import pytest
from kfp.dsl import Dataset, Model

from components import training
from components.factory import component, source
from components.image import TRAINING_IMAGE
from hallmark.training import step, steps
from hallmark.training.signature import Addresses, FoundAtRun, Reads, Writes
from hallmark.training.step import Step

STEPS = step.of(vars(steps))


def test_there_is_one_component_a_step() -> None:
    names = [name for name, each in vars(training).items() if hasattr(each, "component_spec")]
    assert sorted(names) == sorted(each.name for each in STEPS)
    assert len(names) == 16


@pytest.mark.parametrize("name", [each.name for each in STEPS])
def test_a_component_runs_in_the_training_image_and_installs_nothing(name: str) -> None:
    made = getattr(training, name)
    container = made.component_spec.implementation.container
    assert container.image == TRAINING_IMAGE
    assert "pip install" not in " ".join([*container.command, *container.args])
    assert source(getattr(steps, name)).rstrip() in container.command[-1]
    assert inspect.getsource(made.python_func) == source(getattr(steps, name))


@pytest.mark.parametrize("each", STEPS, ids=lambda each: each.name)
def test_what_a_step_reads_and_writes_are_the_artifacts_of_its_component(each: Step[..., Any]) -> None:
    spec = getattr(training, each.name).component_spec
    found = {name for name in each.signature.reads if not _kept_out(each, name)}
    artifacts = {name for name, item in (spec.inputs or {}).items() if item.type.startswith("system.")}
    assert artifacts == found
    outputs = {name for name, item in (spec.outputs or {}).items() if item.type.startswith("system.")}
    assert outputs - set(step.SHOWN) == set(each.signature.writes)
    assert set(spec.inputs) == {"domain", *(given.name for given in each.signature.given)} - set(each.signature.writes)


def _kept_out(each: Step[..., Any], name: str) -> bool:
    (keyword,) = [item for item in each.signature.keywords if item.name == name]
    return bool(keyword.annotation(FoundAtRun) or keyword.annotation(Reads).named)


def test_only_what_shows_something_has_artifacts_of_its_own_for_it() -> None:
    shown = {
        name for name in vars(training) if name in {each.name for each in STEPS} and _shows(getattr(training, name))
    }
    assert shown == {"evaluate"}


def _shows(made: Any) -> bool:
    return set(step.SHOWN) <= set(made.component_spec.outputs or {})


@step.step(prepare=lambda domain: {"champion": None})
def told(
    domain: str,
    *,
    seed: int,
    data: Annotated[Path, Reads("Dataset")],
    extra: Annotated[Path | None, Reads()] = None,
    champion: Annotated[Path | None, Reads("Model"), FoundAtRun()] = None,
    model: Annotated[Path, Writes("Model")],
    addresses: Annotated[dict[str, str] | None, Addresses()] = None,
) -> str:
    """Say what came."""
    model.write_text(data.read_text())
    return f"{domain} {seed} {extra} {champion} {sorted(addresses or {})}"


def test_a_component_hands_its_step_paths_for_artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HALLMARK_RUN", raising=False)
    (tmp_path / "data").write_text("rows")
    data, model = Dataset(uri=str(tmp_path / "data")), Model(uri=str(tmp_path / "model"))
    assert told.component(domain="toy", seed=7, data=data, model=model, extra=None) == "toy 7 None None []"
    assert (tmp_path / "model").read_text() == "rows"


def test_a_step_is_told_where_its_artifacts_lie_where_all_lie_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HALLMARK_RUN", raising=False)
    (tmp_path / "data").write_text("rows")

    class Away(Dataset):  # type: ignore[misc]
        """An artifact in a bucket that is mounted here."""

        @property
        def path(self) -> str:
            return str(tmp_path / self.uri.rpartition("/")[2])

    away = {"data": Away(uri="s3://bucket/data"), "model": Away(uri="s3://bucket/model")}
    assert told.component(domain="toy", seed=7, **away).endswith("['data', 'model']")
    here = Dataset(uri=str(tmp_path / "data"))
    assert told.component(domain="toy", seed=7, data=here, model=away["model"]).endswith("[]")


def test_a_component_asks_for_what_the_graph_says_and_not_for_what_the_step_finds_out() -> None:
    spec = component(told).component_spec
    assert {name: item.type for name, item in spec.inputs.items()} == {
        "domain": "String",
        "seed": "Integer",
        "data": "system.Dataset@0.0.1",
        "extra": "system.Artifact@0.0.1",
    }
    assert {name: item.type for name, item in spec.outputs.items()} == {
        "model": "system.Model@0.0.1",
        "Output": "String",
    }
    assert spec.inputs["extra"].optional
