"""The policy: what it refuses, and that docs/rollout.md names every key with its default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from hallmark.declaration.rollout import CandidateLimits, PredictionCosts, Retrain, Rollout, RolloutLabels, Shadow

DOCS = Path(__file__).parents[3] / "docs" / "rollout.md"
SECTIONS: dict[str, type[BaseModel]] = {
    "": Rollout,
    "shadow.": Shadow,
    "limits.": CandidateLimits,
    "labels.": RolloutLabels,
    "labels.costs.": PredictionCosts,
    "retrain.": Retrain,
}


def written(model: type[BaseModel], name: str) -> str:
    """A key's default as a person writes it in YAML."""
    field = model.model_fields[name]
    if field.is_required():
        return "required"
    value: Any = model.model_construct(**{name: field.default}).model_dump(mode="json", include={name})[name]
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(list(value) if isinstance(value, tuple) else value)


def test_the_documentation_has_every_key_and_its_default() -> None:
    declared = {
        prefix + name: written(model, name)
        for prefix, model in SECTIONS.items()
        for name in model.model_fields
        if f"{prefix}{name}." not in SECTIONS
    }
    told = dict(
        re.findall(r"^\| `([a-z_.]+)` \| ([^|]+?) \| [^|]+ \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert told == declared


@pytest.mark.parametrize("stages", [[], [10, 50], [50, 10, 100], [10, 10, 100], [0, 100], [10, 101], [100, 10]])
def test_stages_rise_and_end_at_100(stages: list[int]) -> None:
    with pytest.raises(ValidationError):
        Rollout(stages=tuple(stages))


def test_the_former_name_of_stages_is_refused_with_the_new_one() -> None:
    with pytest.raises(ValidationError, match="expected `stages`"):
        Rollout.model_validate({"steps": [10, 100]})


@pytest.mark.parametrize(
    "wrong",
    [
        {"limits": {"errors": 1.5}},
        {"limits": {"error_ratio": 1.0}},
        {"limits": {"negligible": 0}},
        {"shadow": {"output": "score", "share": 0}},
        {"shadow": {}},
        {"false_alarm": 0},
        {"labels": {"costs": {"false_negative": -1}}},
        {"dwel": "10m"},
    ],
)
def test_what_no_policy_can_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Rollout.model_validate(wrong)
