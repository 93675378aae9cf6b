"""Every rule against the pair of files in its fixture's folder: bad breaks it, and it alone, at the marked lines; good breaks none."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hallmark.lint import checkout, judge
from hallmark.lint.catalogue import rules, topic
from hallmark.lint.objects import ClusterOptions
from hallmark.lint.rules import LintFinding
from hallmark.training.check import Finding

FIXTURES = Path(__file__).parent / "fixtures"
DOMAINS = frozenset({"fraud", "search"})
FOLDERS = sorted(path for path in FIXTURES.iterdir() if path.is_dir())
MARK = re.compile(r"#\s*<-\s*(HM\d{3})")


def the_file(folder: Path, which: str) -> Path | None:
    """The file of a pair: bad.yaml, bad.py, or bad/domain.yaml where the name matters."""
    found = [*folder.glob(f"{which}.*"), *folder.glob(f"{which}/*")]
    found = [path for path in found if path.name not in ("features.py", "checked.json")]
    return found[0] if found else None


def options_of(path: Path) -> ClusterOptions:
    """What a first line such as `# with: kserve=0.20.1` says about the cluster."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    given = dict(item.split("=") for item in first.removeprefix("# with: ").split()) if "# with: " in first else {}
    return ClusterOptions.model_validate(given)


def judged(path: Path) -> list[LintFinding]:
    """What is found in a file, by what stands in `before` and `beside`, what `hallmark check` found (checked.json), and the models in `models` of its fixture."""
    folder = path.parent if path.parent.parent == FIXTURES else path.parent.parent
    before, beside = the_file(folder, "before"), the_file(folder, "beside")
    previous = None
    if before is not None:
        assert before.suffix == path.suffix
        previous = {}
        for document in checkout.read(before, root=FIXTURES):
            previous |= checkout.identified(document)
    read = checkout.read(path, root=FIXTURES)
    read += checkout.read(beside, root=FIXTURES, background=True) if beside else []
    if (fields := path.with_name("features.py")).is_file():
        read += checkout.read(fields, root=FIXTURES, background=True)
    found = json.loads(each.read_text(encoding="utf-8")) if (each := path.with_name("checked.json")).is_file() else []
    return judge.findings(
        read,
        options=options_of(path),
        domains=DOMAINS,
        previous=previous,
        models=folder / "models",
        checked={path.relative_to(FIXTURES).as_posix(): [Finding.model_validate(each) for each in found]},
    )


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_bad_file_breaks_its_rule_alone_at_the_marked_lines(folder: Path) -> None:
    path = the_file(folder, "bad")
    assert path is not None
    marked = {
        (mark[1], number)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (mark := MARK.search(line))
    }
    assert marked and {code for code, _ in marked} == {folder.name[:5]}
    assert {(finding.code, finding.line) for finding in judged(path)} == marked


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_good_file_breaks_nothing(folder: Path) -> None:
    path = the_file(folder, "good")
    assert path is not None
    assert judged(path) == []


def test_every_rule_has_a_pair_and_every_pair_a_rule() -> None:
    codes = [rule.code for rule in rules()]
    assert len(codes) >= 25
    assert [folder.name[:5] for folder in FOLDERS] == codes


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.code)
def test_a_rule_says_why_how_to_mend_it_and_where_that_was_read(rule: judge.Rule) -> None:
    assert topic(rule)
    assert rule.link.startswith("https://")
    assert (rule.check.__doc__ or "").strip(), "the docstring names the source"
    for text in (rule.title, rule.reason, rule.fix):
        assert "\n" not in text and 5 < len(text) < 160 and not text.endswith(".")


def test_a_finding_points_at_the_key_itself() -> None:
    path = the_file(next(folder for folder in FOLDERS if folder.name.startswith("HM201")), "bad")
    assert path is not None
    (finding,) = judged(path)
    line = path.read_text(encoding="utf-8").splitlines()[finding.line - 1]
    assert line[finding.column - 1 :].startswith("canaryTrafficPercent:")
    assert finding.key == "spec.predictor.canaryTrafficPercent"
    assert finding.message == "canaryTrafficPercent: 10 is ignored in Standard mode"


def test_a_word_that_no_answer_has_is_told_with_the_words_and_the_near_one() -> None:
    path = FIXTURES / "HM769-word-of-no-answer/bad/domain.yaml"
    typo, strange, _ = (each for each in judged(path))
    assert typo.message == 'reviewer.verdict is never "counterfiet": it is one of authentic, counterfeit'
    assert typo.fix == 'did you mean "counterfeit"?' and typo.key == "decision.steps.ask.routes.0.when"
    assert "did you mean" not in strange.fix


def test_a_certain_comparison_is_told_as_it_is_written() -> None:
    path = FIXTURES / "HM770-certain-comparison/bad/domain.yaml"
    assert [each.message for each in judged(path)] == [
        "view.counterfeit > 1.5 never holds: view.counterfeit is from 0 to 1",
        "5.0 > view.counterfeit always holds: view.counterfeit is from 0 to 1",
        "view.counterfeit == 2.0 never holds: view.counterfeit is from 0 to 1",
        "reviewer.doubt >= 11.0 never holds: reviewer.doubt is from 0 to 10",
    ]
