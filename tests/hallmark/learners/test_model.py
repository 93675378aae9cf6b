"""What a domain's model.py declares, held against its domain.yaml; and the examples that it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from hallmark.declaration import domain as domains
from hallmark.errors import ContractBroken, DeclarationError
from hallmark.learners.model import Examples, examples, spec, task_of
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]
FEATURES = """
import numpy as np

from hallmark.features.fields import Field

FIELDS = (Field(name="size", datatype="FP32"), {more})

def encode(columns):
    return columns["size"][:, None]
"""
MODEL = """
from hallmark.features.fields import Output
from hallmark.learners.model import ModelSpec

def fit(train, validation, *, seed, progress=None, **options):
    raise NotImplementedError

SPEC = ModelSpec({spec}, fit=fit, restore=fit)
"""


def checkout(root: Path, name: str, *, model: str, more: str = "") -> Settings:
    """A checkout with one domain, declared as ours is but for an index, and a model.py of one's own."""
    folder = root / "domains" / name
    folder.mkdir(parents=True)
    declared = yaml.safe_load((ROOT / "domains" / name / "domain.yaml").read_text(encoding="utf-8"))
    declared.pop("retrieval", None)
    (folder / "domain.yaml").write_text(yaml.safe_dump(declared), encoding="utf-8")
    (folder / "features.py").write_text(FEATURES.format(more=more), encoding="utf-8")
    text = MODEL.format(spec=model) if "task=" in model else model
    (folder / "model.py").write_text(text, encoding="utf-8")
    return Settings.load({"HALLMARK_ROOT": str(root)})


SPECS = {
    "fraud": 'task="binary", outputs=(Output(name="score", datatype="FP32"),)',
    "listing": 'task="multiclass", labels=("Hat", "Shoes"), outputs=(Output(name="p", datatype="FP32", shape=(2,)),)',
    "pricing": 'task="regression", outputs=(Output(name="quantiles", datatype="FP32", shape=(3,)),)',
    "search": 'task="ranking", outputs=(Output(name="score", datatype="FP32"),)',
    "recommendations": 'task="retrieval", outputs=(Output(name="items", datatype="INT64", shape=(10,)),)',
    "marketing": 'task="uplift", outputs=(Output(name="uplift", datatype="FP32"),)',
}


@pytest.mark.parametrize("name", SPECS)
def test_the_spec_of_every_task_is_taken(tmp_path: Path, name: str) -> None:
    settings = checkout(tmp_path, name, model=SPECS[name])
    domain = domains.load(name, settings)
    found = spec(domain, settings)
    assert found.task == domain.task.kind
    assert task_of(domain, found).shape == found.outputs[0].shape


@pytest.mark.parametrize(
    ("name", "model", "message", "expected"),
    [
        ("fraud", "OUTPUTS = ()\n", "domains/fraud/model.py declares no SPEC", "SPEC = ModelSpec"),
        ("fraud", "SPEC = {'kind': 'binary'}\n", "domains/fraud/model.py declares no SPEC", "SPEC = ModelSpec"),
        ("pricing", SPECS["fraud"], "name different tasks", "task: {kind: binary}, or a SPEC for regression"),
        (
            "fraud",
            SPECS["fraud"] + ', labels=("no", "yes")',
            "names classes, which a binary task does not have",
            "no labels",
        ),
        (
            "fraud",
            'task="binary", outputs=(Output(name="score", datatype="FP32", shape=(1,)),)',
            "first output of domains/fraud/model.py is not what its task answers",
            r"score of shape \(\) per record",
        ),
        (
            "listing",
            'task="multiclass", labels=("Hat", "Shoes", "Dress"), outputs=(Output(name="p", datatype="FP32", shape=(2,)),)',
            "is not what its task answers",
            r"p of shape \(3,\)",
        ),
        (
            "pricing",
            'task="regression", outputs=(Output(name="price", datatype="FP32"),)',
            "is not what its task answers",
            r"price of shape \(3,\)",
        ),
        (
            "recommendations",
            'task="retrieval", outputs=(Output(name="items", datatype="INT64", shape=(100,)),)',
            "is not what its task answers",
            r"items of shape \(10,\)",
        ),
    ],
)
def test_a_spec_that_is_not_the_declarations_is_refused(
    tmp_path: Path, name: str, model: str, message: str, expected: str
) -> None:
    settings = checkout(tmp_path, name, model=model)
    with pytest.raises(DeclarationError) as refused:
        spec(domains.load(name, settings), settings)
    assert message in refused.value.message
    assert expected.replace("\\", "") in refused.value.expected and refused.value.got


ANSWERS = [
    ("fraud", "fraud"),  # the label
    ("fraud", "charged_back_at"),  # when it became known
    ("fraud", "buyer_id"),  # who it is about
    ("fraud", "ordered_at"),  # when it was
    ("pricing", "unsold"),  # that it is only a bound
    ("pricing", "days"),  # for how long it was on offer
    ("marketing", "written"),  # the treatment
    ("marketing", "propensity"),
    ("search", "look"),  # where it stood
    ("search", "relevance"),  # that somebody judged
]


@pytest.mark.parametrize(("name", "column"), ANSWERS)
def test_a_field_that_tells_the_answer_is_a_wrong_declaration(tmp_path: Path, name: str, column: str) -> None:
    more = f'Field(name="{column}", datatype="FP32"),'
    settings = checkout(tmp_path, name, model=SPECS[name], more=more)
    with pytest.raises(
        DeclarationError, match=f"{column} is declared as a request field and tells the answer"
    ) as refused:
        examples(name, pd.DataFrame({"size": [1.0], column: [1.0]}), settings=settings)
    assert refused.value.fix == "take it out of FIELDS in the domain's features.py"


def test_examples_hold_what_the_task_reads(tmp_path: Path) -> None:
    size = {"size": [1.0, 2.0, 3.0, 4.0]}

    def of(name: str, **columns: list[Any]) -> Examples:
        settings = checkout(tmp_path / name, name, model=SPECS[name])
        return examples(name, pd.DataFrame({**size, **columns}), settings=settings)

    ranking = of("search", query_id=["a", "a", "b", "b"], clicked=[1, 0, 0, 2], look=[1.0, 0.5, 0.5, 0.25])
    assert ranking.inputs.dtype == np.float32 and ranking.inputs.shape == (4, 1)
    assert ranking.groups is not None and ranking.groups.tolist() == [0, 0, 1, 1]
    assert ranking.targets.labels.tolist() == [1, 0, 0, 2]
    assert ranking.weights is not None and ranking.weights.tolist() == [1, 1, 8, 8]  # a query counts what its clicks do
    retrieval = of(
        "recommendations", session_id=[*"aabb"], item_id=[5, 6, 5, 7], viewed=[1, 1, 1, 0], member_id=[*"ppqq"]
    )
    assert retrieval.items is not None and retrieval.items.tolist() == [5, 6, 5, 7]
    offered = {"asked": [9.0, 20.0, 30.0, 40.0], "days": [1.0, 14.0, 2.0, 3.0], "dated": [1.0] * 4}
    sold = {"price": [10.0, 20.0, 30.0, 40.0], "unsold": [False, True, False, False]}
    pricing = of("pricing", seller_id=[*"aabc"], **sold, **offered)
    assert {name: each.tolist() for name, each in pricing.outcomes.items()} == offered
    assert pricing.censored is not None and pricing.censored.tolist() == [False, True, False, False]
    assert pricing.groups is not None and pricing.groups.tolist() == [0, 0, 1, 2]  # sellers: drawn again together
    uplift = of(
        "marketing", bought=[1, 0, 0, 1], written=[1, 0, 1, 0], propensity=[0.9, 0.1, 0.9, 0.1], member_id=[*"abcd"]
    )
    assert uplift.treatment is not None and uplift.propensity is not None
    assert (uplift.treatment.tolist(), uplift.propensity.tolist()) == ([1, 0, 1, 0], [0.9, 0.1, 0.9, 0.1])
    photos = of("listing", label=["Shoes", "Hat", "Hat", "Shoes"], sender_id=[*"abcd"])
    assert photos.labels.tolist() == [1, 0, 0, 1] and len(photos) == 4


def test_a_class_that_the_model_does_not_have_is_named(tmp_path: Path) -> None:
    settings = checkout(tmp_path, "listing", model=SPECS["listing"])
    frame = pd.DataFrame({"size": [1.0, 2.0], "label": ["Hat", "Scarf"], "sender_id": ["a", "b"]})
    with pytest.raises(ContractBroken, match="label column label holds 'Scarf'"):
        examples("listing", frame, settings=settings)


def test_as_many_inputs_as_labels() -> None:
    with pytest.raises(ValueError, match="as many inputs as labels, got 2 and 3"):
        Examples(inputs=np.zeros((2, 1), dtype=np.float32), labels=np.zeros(3))
