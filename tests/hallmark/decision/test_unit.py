"""A sealed decision: read as it was written, and refused where its parts do not belong together."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from hallmark.decision import unit
from hallmark.decision.record import Part
from hallmark.declaration import decision_paths
from hallmark.declaration.decision import Decision
from hallmark.errors import ModelRefused
from tests.hallmark.decision.graphs import BAGS, RAW, THRESHOLDS

PARTS = {
    "view": Part(service="fraud", version="3", digest="sha256:aa"),
    "reviewer": Part(service="bags-reviewer", version="1"),
}


def test_a_unit_is_read_as_it_was_sealed(tmp_path: Path) -> None:
    digest = unit.seal(tmp_path, domain="bags", decision=BAGS, thresholds=THRESHOLDS, parts=PARTS)
    found = unit.read(tmp_path, expected=digest)
    assert (found.decision, found.thresholds, found.parts, found.domain) == (BAGS, THRESHOLDS, PARTS, "bags")
    assert found.digest == digest


def test_what_was_sealed_before_lint_knew_of_a_fault_is_served_and_not_sealed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = Decision.model_validate({**RAW, "explore": 0.0})
    with pytest.raises(ModelRefused, match="no accepted item is ever looked at"):
        unit.seal(tmp_path / "now", domain="bags", decision=blind, thresholds=THRESHOLDS, parts=PARTS)
    monkeypatch.setattr(decision_paths, "_unwatched", lambda _: ())
    digest = unit.seal(tmp_path / "before", domain="bags", decision=blind, thresholds=THRESHOLDS, parts=PARTS)
    monkeypatch.undo()
    assert unit.read(tmp_path / "before", expected=digest).decision == blind


def test_any_other_part_is_another_unit(tmp_path: Path) -> None:
    sealed = [
        unit.seal(tmp_path / str(at), domain="bags", decision=graph, thresholds=limits, parts=parts)
        for at, (graph, limits, parts) in enumerate(
            [
                (BAGS, THRESHOLDS, PARTS),
                (BAGS, THRESHOLDS, {**PARTS, "view": Part(service="fraud", version="4")}),
                (BAGS, THRESHOLDS.model_copy(update={"slices": ()}), PARTS),
                (Decision.model_validate({**RAW, "explore": 0.03}), THRESHOLDS, PARTS),
            ]
        )
    ]
    assert len(set(sealed)) == 4


def test_a_changed_byte_is_refused(tmp_path: Path) -> None:
    digest = unit.seal(tmp_path, domain="bags", decision=BAGS, thresholds=THRESHOLDS, parts=PARTS)
    file = tmp_path / "thresholds.json"
    file.write_text(file.read_text().replace("0.2", "0.9"))
    with pytest.raises(ModelRefused, match="was changed"):
        unit.read(tmp_path, expected=digest)


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    def sealed(**more: object) -> None:
        parts = {"decision": BAGS, "thresholds": THRESHOLDS, "parts": PARTS, **more}
        unit.seal(tmp_path, domain="bags", **parts)  # type: ignore[arg-type]

    with pytest.raises(ModelRefused, match="not those of the declared risk"):
        sealed(thresholds=THRESHOLDS.model_copy(update={"at_most": 0.05}))
    with pytest.raises(ModelRefused, match="not those of the declared risk"):
        sealed(thresholds=THRESHOLDS.model_copy(update={"score": "view.other"}))
    with pytest.raises(ModelRefused, match="not the graph's nodes"):
        sealed(parts={"view": PARTS["view"]})
    late = copy.deepcopy(RAW)
    late["deadline"] = "1s"
    with pytest.raises(ModelRefused, match="longest way takes 4600ms"):
        sealed(decision=Decision.model_validate(late))
    assert not list(tmp_path.iterdir())
