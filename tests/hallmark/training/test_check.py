"""What is found about a domain before it is trained: rows N1, N2, N11 and N15 of ../shared/cases/users.md, and their kind."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from hallmark.declaration import domain as domains
from hallmark.errors import DeclarationError
from hallmark.settings import Settings
from hallmark.training import check, run

ROOT = Path(__file__).parents[3]


class Checkout:
    """A checkout with one domain of the tests, whose files are changed."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.root = name, folder / "root"
        shutil.copytree(
            ROOT / "tests/toy/domains" / name,
            self.root / "domains" / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        self.settings = Settings.load({"HALLMARK_ROOT": str(self.root), "HALLMARK_STATE": str(folder / "state")})

    def change(self, file: str, old: str, new: str) -> Checkout:
        path = self.root / "domains" / self.name / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return self

    def line(self, file: str, word: str) -> int:
        lines = (self.root / "domains" / self.name / file).read_text().splitlines()
        return next(number for number, line in enumerate(lines, 1) if re.search(rf"\b{re.escape(word)}\b", line))

    def found(self, data: pd.DataFrame | None = None) -> list[check.Finding]:
        return check.findings(domains.load(self.name, self.settings), self.settings, data=data)


@pytest.fixture
def toy(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path, "toy")


def drawn(toy: Checkout, days: int) -> pd.DataFrame:
    module = domains.module(toy.name, "data", toy.settings)
    start, end = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 9, 1 + days, tzinfo=UTC)
    found: pd.DataFrame = module.draw(start=start, end=end, seed=1)
    return found


@pytest.mark.parametrize(
    ("old", "new", "key", "fix"),
    [
        ("entity: who", "entity: whom", "data.entity", "did you mean who?"),
        ("label: above", "label: abov", "data.label", "did you mean above?"),
        ("event_time: at", "event_time: when", "data.event_time", "name one of a, above, at, b, kind, who"),
        ("label_delay: 1d", "label_delay: 1d\n  label_time: told_at", "data.label_time", "name one of"),
        ("label_delay: 1d", "label_delay: 1d\n  weight: worth", "data.weight", "name one of"),
        ("columns: [kind]", "columns: [kinds]", "gate.slices.columns", "did you mean kind?"),
        ("output: score", "output: skore", "rollout.shadow.output", "did you mean score?"),
        ("disagreement: 0.05", "disagreement: 0.05, slices: [colour]", "rollout.shadow.slices", "name one of"),
        (
            "rollout: {",
            "rollout: {labels: {minimum: 100, costs: {false_negative: 1.0, false_positive: 0.1, times: amuont}}, ",
            "rollout.labels.costs.times",
            "name one of",
        ),
    ],
)
def test_n1_n2_a_name_that_the_domain_has_not_is_told_with_its_line(
    toy: Checkout, old: str, new: str, key: str, fix: str
) -> None:
    toy.change("domain.yaml", old, new)
    (error,) = [each for each in toy.found() if each.level == "error"]
    named = error.what.removeprefix(f"{key}: ").partition(" is ")[0]
    assert error.key == key
    assert error.where == f"domains/toy/domain.yaml:{toy.line('domain.yaml', named)}"
    assert error.fix.startswith(fix)


@pytest.mark.slow
def test_n2_a_training_of_what_is_wrong_is_not_begun(toy: Checkout) -> None:
    toy.change("domain.yaml", "label: above", "label: abov")
    with pytest.raises(DeclarationError, match=r"domain\.yaml"):
        run.train("toy", settings=toy.settings)
    assert not list(toy.settings.runs.glob("workspaces/*")), "nothing was begun"


@pytest.mark.parametrize(
    ("file", "old", "new", "word", "what", "fix"),
    [
        (
            "domain.yaml",
            "rollout: {",
            "drift: {match: kinds}\nrollout: {",
            "kinds",
            "drift.match: kinds",
            "did you mean kind?",
        ),
        (
            "domain.yaml",
            "rollout: {",
            "drift: {columns: [aa]}\nrollout: {",
            "aa",
            "drift.columns: aa",
            "did you mean a?",
        ),
        (
            "domain.yaml",
            "rollout: {",
            "features: {views: [device@9]}\nrollout: {",
            "views",
            "features.views: device@9",
            "",
        ),
        ("domain.yaml", "window: 10d", "window: 0d", "window", "training.window: is 0", "such as 30d"),
        ("domain.yaml", "0 0 3 * * *", "0 0 3 30 2 *", "schedule", "training.schedule: 0 0 3 30 2 * never", "a day"),
        ("domain.yaml", "floor: 0.5", "floor: .nan", "floor", "gate.floor: nan", "write a number"),
        ("domain.yaml", "threshold: 0.5", "threshold: 5", "threshold", "rollout.shadow.threshold: 5", "from 0 to 1"),
        (
            "features.py",
            "FIELDS = (",
            'FIELDS = (\n    Field(name="a", datatype="FP64"),',
            "a",
            "the field a is in",
            "take one",
        ),
        ("features.py", "def observe(", "def watch(", "", "features.py has no observe", "write observe(columns)"),
    ],
)
def test_a_value_that_means_nothing_is_told_with_its_line(
    toy: Checkout, file: str, old: str, new: str, word: str, what: str, fix: str
) -> None:
    toy.change(file, old, new)
    errors = [each for each in toy.found() if each.level == "error"]
    assert [each.what.startswith(what) for each in errors] == [True], errors
    # Of a field that is there twice the first is named, which was put right below FIELDS.
    number = toy.line(file, word) if file == "domain.yaml" else toy.line(file, "FIELDS") + 1
    line = f":{number}" if word else ""
    assert errors[0].where == f"domains/toy/{file}{line}"
    assert fix in errors[0].fix


def test_a_drill_of_a_shift_that_there_is_not_is_told(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "domains" / "fraud", tmp_path / "root/domains/fraud")
    shutil.copytree(ROOT / "features", tmp_path / "root/features")
    settings = Settings.load({"HALLMARK_ROOT": str(tmp_path / "root"), "HALLMARK_STATE": str(tmp_path / "state")})
    path = tmp_path / "root/domains/fraud/domain.yaml"
    path.write_text(path.read_text().replace("shift: new_fraud_pattern", "shift: new_fraud_patern"))
    (error,) = [each for each in check.findings(domains.load("fraud", settings), settings) if each.level == "error"]
    assert error.what == "drill.shift: new_fraud_patern is no shift of synthetic.py"
    assert error.fix == "did you mean new_fraud_pattern?"


def test_the_column_that_rankings_are_judged_by_is_looked_for_too(tmp_path: Path) -> None:
    places = Checkout(tmp_path, "places").change("domain.yaml", "data:\n", "data:\n  judged: relevnace\n")
    (error,) = [each for each in places.found() if each.level == "error"]
    assert error.key == "data.judged"


def test_every_error_is_told_at_once(toy: Checkout) -> None:
    toy.change("domain.yaml", "entity: who", "entity: whom").change("domain.yaml", "output: score", "output: skore")
    with pytest.raises(DeclarationError) as caught:
        run.train("toy", settings=toy.settings)
    assert "data.entity: whom" in caught.value.message
    assert "rollout.shadow.output: skore" in caught.value.message


def test_an_answer_of_another_task_is_told(toy: Checkout) -> None:
    toy.change("model.py", 'task="binary"', 'task="regression"')
    (error,) = [each for each in toy.found() if each.level == "error"]
    assert "different tasks" in error.what
    assert error.where == "domains/toy/model.py"


def test_n11_a_field_that_no_input_depends_on_is_told_with_its_line(toy: Checkout) -> None:
    toy.change("features.py", "FIELDS = (", 'FIELDS = (\n    Field(name="unused", datatype="FP64"),')
    found = [each for each in toy.found() if "no input depends" in each.what]
    assert [each.where for each in found] == [
        f"domains/toy/features.py:{toy.line('features.py', word)}" for word in ("unused", "kind")
    ]
    assert {each.level for each in found} == {"warning"}, "a slice or the drift monitor may want it"


def test_code_that_cannot_encode_what_its_fields_allow_is_told(toy: Checkout) -> None:
    toy.change("features.py", 'columns["b"]', 'columns["bee"]')
    (error,) = [each for each in toy.found() if each.level == "error"]
    assert error.what == "encode stops at records of the data: KeyError('bee')"
    with pytest.raises(DeclarationError, match="bee"):
        run.train("toy", settings=toy.settings)


@pytest.mark.parametrize("name", ["finds", "letters", "places", "shapes", "sizes", "sugar"])
def test_every_field_of_a_sound_domain_is_seen_to_count(tmp_path: Path, name: str) -> None:
    """Numbers, words, free text, lists that vary, optional values and several inputs."""
    assert Checkout(tmp_path, name).found() == []


def test_n15_too_few_rows_are_told_with_how_many_it_takes(toy: Checkout) -> None:
    rows = drawn(toy, 2)
    few = pd.concat([rows[rows.above == 0], rows[rows.above == 1].head(12)])
    found = [each for each in toy.found(few) if each.key]
    assert [each.key for each in found] == ["data.label", "gate.floor"]
    assert found[0].what == "12 examples of above 1: the test part will hold about 2"
    assert "bring 100 of each class" in found[0].fix
    assert "the gate decides by chance" in found[1].what
    assert [each for each in toy.found(drawn(toy, 20)) if each.key] == []


def test_what_data_is_like_is_told(toy: Checkout) -> None:
    rows = drawn(toy, 2)
    rows.loc[:19, "who"] = None
    told = check.facts(domains.load("toy", toy.settings), rows)
    assert told["rows"] == len(rows) == sum(told["labels"].values())
    assert (told["first"][:10], told["last"][:10]) == ("2026-09-01", "2026-09-02")
    assert told["nulls"] == {"who": 0.1}


def test_a_field_called_after_the_label_is_told(toy: Checkout) -> None:
    toy.change("features.py", "FIELDS = (", 'FIELDS = (\n    Field(name="above_by", datatype="FP64"),')
    assert [each.what for each in toy.found() if "called after" in each.what] == [
        "the field above_by is called after the label above: does a caller know it before the answer?"
    ]


DECISION = """
decision:
  deadline: 30s
  item: {price: number, kind: text, colour: text}
  nodes:
    view: {kind: model, service: toy, reads: [a, b, kind], outputs: {score: number}, timeout: 2s, fallback: expert}
    expert: {kind: person, minutes: 6, capacity: 600, sla: 4h}
  start: look
  steps:
    look:
      ask: [view]
      routes:
        - {when: view.score < 0.5, to: accept}
        - {to: expert}
  risk: {false_authentic: {score: view.score, at_most: 0.01, slices: [kind]}}
  fallback: {to: expert}
"""


@pytest.fixture
def deciding(toy: Checkout) -> Checkout:
    """The toy domain with a decision that fits it."""
    path = toy.root / "domains/toy/domain.yaml"
    path.write_text(path.read_text() + DECISION)
    return toy


def test_a_decision_that_fits_its_domain_is_not_spoken_of(deciding: Checkout) -> None:
    assert [each for each in deciding.found() if each.key] == []


def test_a_slice_of_a_risk_that_the_data_have_not_is_told_before_anything_is_trained(deciding: Checkout) -> None:
    deciding.change("domain.yaml", "slices: [kind]}}", "slices: [kind, colour]}}")
    (error,) = [each for each in deciding.found() if each.level == "error"]
    assert error.key == "decision.risk.false_authentic.slices"
    assert error.what == f"{error.key}: colour is no column of the contract in domains/toy/data.py"
    assert error.where == f"domains/toy/domain.yaml:{deciding.line('domain.yaml', 'false_authentic')}"
    assert "name one of" in error.fix


def test_a_slice_that_the_contract_lets_data_leave_out_is_told_of_data_that_do(deciding: Checkout) -> None:
    deciding.change("domain.yaml", "slices: [kind]}}", "slices: [kind, colour]}}")
    deciding.change("data.py", '"who": pa', '"colour": pa.Column(object, required=False),\n            "who": pa')
    rows = drawn(deciding, 20)
    assert [each for each in deciding.found(rows.assign(colour="red")) if each.level == "error"] == []
    (error,) = [each for each in deciding.found(rows) if each.level == "error"]
    assert error.what == "decision.risk.false_authentic.slices: colour is no column of these data"


@pytest.mark.parametrize(
    ("old", "new", "key", "said", "fix"),
    [
        (
            "outputs: {score: number}",
            "outputs: {score: number, scores: number}",
            "outputs",
            "scores is no output of SPEC in model.py, or of serving.py",
            "did you mean score?",
        ),
        ("reads: [a, b, kind]", "reads: [a, b, kinds]", "reads", "kinds is no field that callers send", "mean kind?"),
        (
            "reads: [a, b, kind]",
            "reads: [a, kind]",
            "reads",
            "b is missing, and the model refuses",
            "add b, or declare",
        ),
        (
            "score: number}, timeout",
            "score: number, seen: text}, timeout",
            "outputs",
            "seen is a text here, and no answer of the model is read so",
            "write seen: number",
        ),
        (
            "score: number}, timeout",
            "score: number, vector: number}, timeout",
            "outputs",
            "vector is a number here",
            "write another output: this one has several values",
        ),
    ],
)
def test_a_node_that_does_not_fit_the_domains_own_model_is_told_before_a_training(
    deciding: Checkout, old: str, new: str, key: str, said: str, fix: str
) -> None:
    more = 'Output(name="seen", datatype="FP32"), Output(name="vector", datatype="FP32", shape=(3,)),)'
    deciding.change("model.py", "maximum=1),)", f"maximum=1), {more}").change("domain.yaml", old, new)
    key = f"decision.nodes.view.{key}"
    errors = [each for each in deciding.found() if each.level == "error"]
    named = [each for each in errors if said in each.what and fix in each.fix]
    assert [(each.key, each.where) for each in named] == [
        (key, f"domains/toy/domain.yaml:{deciding.line('domain.yaml', 'view')}")
    ]
    assert {each.key for each in errors} == {key}


def test_a_risk_by_another_output_than_thresholds_are_made_of_is_told(deciding: Checkout) -> None:
    deciding.change("model.py", "maximum=1),)", 'maximum=1), Output(name="doubt", datatype="FP32"),)')
    deciding.change("domain.yaml", "outputs: {score: number}", "outputs: {score: number, doubt: number}")
    deciding.change("domain.yaml", "false_authentic: {score: view.score", "false_authentic: {score: view.doubt")
    (error,) = [each for each in deciding.found() if each.level == "error"]
    assert error.key == "decision.risk.false_authentic.score"
    assert "view.doubt is not the first output of SPEC" in error.what and error.fix == "write view.score"


def test_an_output_that_serving_adds_may_be_read(deciding: Checkout) -> None:
    deciding.change("domain.yaml", "outputs: {score: number}", "outputs: {score: number, label: text}")
    assert [each.key for each in deciding.found() if each.level == "error"] == ["decision.nodes.view.outputs"]
    (deciding.root / "domains/toy/serving.py").write_text(
        "from hallmark.features.fields import Output\n\n"
        'OUTPUTS = (Output(name="label", datatype="BYTES"),)\n\n\n'
        'def answer(outputs):\n    return {"label": ["a"] * len(outputs["score"])}\n'
    )
    assert [each for each in deciding.found() if each.level == "error"] == []


def test_a_risk_that_no_slice_has_the_rows_to_show_is_told(deciding: Checkout) -> None:
    rows = drawn(deciding, 20)
    (found,) = [each for each in deciding.found(rows) if each.key]
    assert (found.level, found.key) == ("warning", "decision.risk.false_authentic.at_most")
    largest = rows.kind.value_counts().max() / 5
    assert "0.01 takes 437 accepted items of a slice to show" in found.what
    assert f"about {largest:.0f} of the largest slice of kind" in found.what and "bring 2,185 rows" in found.fix
    deciding.change("domain.yaml", "at_most: 0.01", "at_most: 0.03")
    assert [each for each in deciding.found(rows) if each.key] == []


def test_our_own_domains_have_no_errors() -> None:
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT)})
    for name in domains.names(settings):
        found = check.findings(domains.load(name, settings), settings)
        assert [each for each in found if each.level == "error" or not each.key] == [], name
