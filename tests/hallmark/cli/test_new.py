"""`hallmark new`: a whole domain at once, nothing on a second call, nothing half-written where it cannot be."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from hallmark.cli.app import app
from hallmark.declaration import domain as domains
from hallmark.errors import ContractBroken, DeclarationError, HallmarkError
from hallmark.learners.model import examples, spec
from hallmark.render import files
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]
START = datetime(2026, 10, 1, tzinfo=UTC)
ARGUMENTS = ["--team", "returns-team", "--contact", "r@hallmark.example", "--description", "Will it come back?"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for room in ("domains", "inference_services", "features", "contracts", "prompts"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("HALLMARK_ROOT", str(tmp_path))
    monkeypatch.delenv("HALLMARK_RELEASES", raising=False)
    settings = Settings.load()
    files.write(settings)
    return settings


def digest(root: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        found.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return found.hexdigest()


def run(*arguments: str) -> None:
    told = {"--task", "--like", "--data", "--label"} & set(arguments)
    result = CliRunner().invoke(app, ["new", *arguments, *(() if told else ("--like", "fraud"))])
    if isinstance(result.exception, HallmarkError):
        raise result.exception
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("like", ["fraud", "listing", "authentication"])
def test_a_new_domain_is_valid_and_everything_of_it_is_rendered(checkout: Settings, like: str) -> None:
    before = set(checkout.root.rglob("*.yaml"))
    run("returns", "--like", like, *ARGUMENTS)
    declared = domains.load("returns", checkout)
    assert (declared.owner.team, declared.owner.contact) == ("returns-team", "r@hallmark.example")
    assert declared.description == "Will it come back?"
    assert declared.gate == domains.load(like, checkout).gate
    assert files.check(checkout) == []
    made = [path for path in checkout.root.rglob("*.yaml") if path not in before]
    for path in made:
        assert like not in {str(part).split("-")[0] for part in path.parts[-2:]}
        for item in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            assert (item.get("metadata") or {}).get("namespace", "returns") != like


def test_a_second_call_changes_nothing(checkout: Settings) -> None:
    run("returns", *ARGUMENTS)
    once = digest(checkout.root)
    run("returns", *ARGUMENTS)
    with pytest.raises(DeclarationError, match="is there already"):
        run("returns", "--team", "another")
    assert digest(checkout.root) == once


def test_what_was_written_by_hand_is_never_written_to(checkout: Settings) -> None:
    run("returns")
    mine = checkout.domains / "returns" / "data.py"
    mine.write_text("# mine\n", encoding="utf-8")
    run("returns")
    with pytest.raises(DeclarationError, match="is there already"):
        run("returns", "--like", "listing")
    assert mine.read_text(encoding="utf-8") == "# mine\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["Returns"], "small letters"),
        (["order-risk"], "small letters"),
        (["../returns"], "small letters"),
        (["monitoring"], "namespace of the platform"),
        (["class"], "word of"),
        (["true"], "word of"),
        (["runtime"], "namespace of the platform"),
        (["a" * 31], "up to 30"),
        (["returns", "--like", "nothing"], "there is no domain"),
    ],
)
def test_what_cannot_be_leaves_nothing_behind(checkout: Settings, arguments: list[str], named: str) -> None:
    before = digest(checkout.root)
    with pytest.raises(DeclarationError) as caught:
        run(*arguments)
    assert named in str(caught.value)
    assert digest(checkout.root) == before
    assert not list(checkout.domains.glob(".*"))


@pytest.mark.slow
def test_a_copied_domain_draws_examples_that_keep_its_contract(checkout: Settings) -> None:
    run("returns")
    command = [sys.executable, "-m", "hallmark.cli", "data", "returns", "--days", "2", "--until", "2026-10-01"]
    done = subprocess.run(command, cwd=checkout.root, capture_output=True, text=True, env=checkout.environment())
    assert done.returncode == 0, done.stderr
    assert "kept" in done.stdout


TASKS = ("binary", "multiclass", "regression", "ranking", "retrieval", "uplift")


def table(path: Path, *, rows: int = 400) -> Path:
    """A table with a column for every role there is."""
    random = np.random.default_rng(5)
    size = random.uniform(20, 120, rows).round(1)
    frame = pd.DataFrame(
        {
            "row": [f"L{number:05d}" for number in range(rows)],
            "Size m²": size,
            "district": random.choice(["Mitte", "Nord", 'the "South"'], rows),
            "balcony": random.choice(["true", "false"], rows),
            "built": np.where(random.random(rows) < 0.1, np.nan, random.integers(1890, 2024, rows)),
            "day": pd.date_range("2025-01-01", periods=rows, freq="9h").strftime("%Y-%m-%d"),
            "house": [f"h{number % 60}" for number in range(rows)],
            "search": [f"s{number // 8}" for number in range(rows)],
            "flat": [f"f{number % 37}" for number in range(rows)],
            "rent": (200 + 11 * size + random.normal(0, 60, rows)).round(),
            "taken": (size + random.normal(0, 20, rows) > 80).astype(int),
            "class": np.array(["large", "small"])[(size + random.normal(0, 15, rows) < 70).astype(int)],
            "wrote": random.integers(0, 2, rows),
        }
    )
    frame["class"] = frame["class"].where(random.random(rows) < 0.9, "odd")
    frame.to_csv(path, index=False)
    return path


ROLES = {
    "binary": ["--label", "taken"],
    "multiclass": ["--label", "class"],
    "regression": ["--label", "rent"],
    "ranking": ["--label", "taken", "--query", "search"],
    "retrieval": ["--label", "taken", "--query", "search", "--item", "flat"],
    "uplift": ["--label", "taken", "--treatment", "wrote"],
}
ANSWERS = ("rent", "taken", "class", "wrote", "row", "house", "search", "flat")


def left(roles: list[str]) -> list[str]:
    """`--leave` for every answer that is none of these roles'."""
    return [part for name in ANSWERS if name not in roles for part in ("--leave", name)]


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_domain_made_for_a_task_draws_what_keeps_its_contract_and_can_be_split(checkout: Settings, task: str) -> None:
    from hallmark.data import contract
    from hallmark.training.split import split

    run("returns", "--task", task, *ARGUMENTS)
    declared = domains.load("returns", checkout)
    assert (declared.task.kind, declared.gate.metric) == (task, declared.task.gated)
    assert spec(declared, checkout).task == task
    assert files.check(checkout) == []
    code = domains.module("returns", "data", checkout)
    end = datetime(2026, 10, 1, tzinfo=UTC)
    frame = code.draw(start=end - timedelta(days=10), end=end, seed=3)
    contract.check(code.contract(), frame, "drawn")
    parts = split(declared, frame, as_of=end, settings=checkout)
    assert len(examples("returns", parts.train, settings=checkout)) > len(parts.test) > 0
    assert declared.drill is not None
    assert len(code.draw(start=end - timedelta(days=1), end=end, seed=3, shift=declared.drill.shift))


@pytest.mark.parametrize("task", TASKS)
def test_a_domain_made_from_a_table_reads_it_back_within_its_contract(
    checkout: Settings, task: str, tmp_path: Path
) -> None:
    from hallmark.data import contract
    from hallmark.training.split import split

    file = table(tmp_path / "flats.csv")
    roles = ROLES[task]
    run("flats", "--task", task, "--data", str(file), *roles, *left(roles))
    declared = domains.load("flats", checkout)
    code = domains.module("flats", "data", checkout)
    frame = code.read(file)
    contract.check(code.contract(), frame, "read")
    contract.check(code.contract(), code.draw(start=START, end=START + timedelta(days=3), seed=1), "drawn")
    parts = split(declared, frame, settings=checkout)
    made = examples("flats", parts.train, settings=checkout)
    assert len(made) > len(parts.test) > 0
    fields = {field.name for field in domains.module("flats", "features", checkout).FIELDS}
    assert {"Size m²", "district", "balcony", "built"} <= fields
    assert not fields & set(ANSWERS)


def test_a_table_is_read_as_its_data_yaml_says(checkout: Settings, tmp_path: Path) -> None:
    file = table(tmp_path / "flats.csv")
    given = pd.read_csv(file)
    given["balcony"] = given["balcony"].map({True: "ja", False: "nein"})
    given.to_csv(file, index=False, sep=";", decimal=",")
    (tmp_path / "data.yaml").write_text("separator: ';'\ndecimal: ','\ntrue_words: [ja]\nfalse_words: [nein]\n")
    run("flats", "--task", "regression", "--data", str(file), *ROLES["regression"], *left(ROLES["regression"]))
    fields = {field.name: field for field in domains.module("flats", "features", checkout).FIELDS}
    assert (fields["Size m²"].datatype, fields["balcony"].datatype) == ("FP64", "BOOL")
    code = domains.module("flats", "data", checkout)
    assert code.read(file)["Size m²"].between(20, 120).all()


def test_a_point_where_data_yaml_says_a_comma_is_refused(checkout: Settings, tmp_path: Path) -> None:
    """1.500 is fifteen hundred there: read as one and a half, the folder would be made of wrong numbers."""
    file = table(tmp_path / "flats.csv")
    given = pd.read_csv(file).assign(
        deposit=lambda frame: [f"{each // 1000}.{each % 1000:03}" for each in frame.index + 1500]
    )
    given.to_csv(file, index=False, sep=";", decimal=",")
    (tmp_path / "data.yaml").write_text("separator: ';'\ndecimal: ','\n")
    asked = ["flats", "--task", "regression", "--data", str(file), *ROLES["regression"], *left(ROLES["regression"])]
    with pytest.raises(ContractBroken, match=r"column deposit of flats\.csv has a point") as told:
        run(*asked)
    assert told.value.got == "'1.500'" and not (checkout.domains / "flats").exists()
    run(*asked, "--leave", "deposit")
    assert "deposit" not in {field.name for field in domains.module("flats", "features", checkout).FIELDS}


def test_with_a_time_the_latest_are_the_test_and_the_window_holds_all_of_it(checkout: Settings, tmp_path: Path) -> None:
    file = table(tmp_path / "flats.csv")
    roles = ["--label", "rent", "--time", "day", "--entity", "house"]
    run("flats", "--task", "regression", "--data", str(file), *roles, *left(roles))
    declared = domains.load("flats", checkout)
    assert (declared.data.split, declared.data.event_time, declared.data.entity) == ("time", "day", "house")
    assert declared.training.window >= timedelta(days=150)
    frame = domains.module("flats", "data", checkout).read(file)
    assert str(frame["day"].dtype) == "datetime64[us, UTC]"


def test_the_floor_is_what_one_answer_for_all_reaches(checkout: Settings, tmp_path: Path) -> None:
    file = table(tmp_path / "flats.csv")
    run("flats", "--task", "regression", "--data", str(file), "--label", "rent", *left(["rent"]))
    rents = pd.read_csv(file)["rent"]
    usual = float((rents - rents.median()).abs().mean())
    floor = domains.load("flats", checkout).gate.floor
    assert usual <= floor <= 1.1 * usual


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--task", "regression", "--label", "rent"], "add --data FILE"),
        (["--data", "flats.csv"], "--task"),
        (["--task", "regression", "--like", "fraud"], "two ways"),
        (["--task", "regression", "--data", "flats.csv"], "add --label COLUMN"),
        (["--task", "ranking", "--data", "flats.csv", "--label", "taken"], "add --query COLUMN"),
        (["--task", "uplift", "--data", "flats.csv", "--label", "taken"], "add --treatment COLUMN"),
        (["--task", "regression", "--data", "flats.csv", "--label", "rend"], "--label rent"),
        (["--task", "regression", "--data", "flats.csv", "--label", "class", "--leave", "house"], "--task multiclass"),
        (["--task", "binary", "--data", "flats.csv", "--label", "rent", "--leave", "house"], "1 and 0"),
        (
            ["--task", "regression", "--data", "flats.csv", "--label", "rent", "--query", "search"],
            "never reads --query",
        ),
        (
            [
                "--task",
                "regression",
                "--data",
                "flats.csv",
                "--label",
                "rent",
                "--time",
                "district",
                "--leave",
                "house",
            ],
            "no time",
        ),
        (["--task", "regression", "--data", "flats.csv", "--label", "rent", "--leave", "flet"], "--leave flat"),
        (["--task", "regression", "--data", "none.csv", "--label", "rent"], "no data at"),
    ],
)
def test_what_a_table_does_not_tell_is_asked_and_nothing_is_left_behind(
    checkout: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], named: str
) -> None:
    table(tmp_path / "flats.csv")
    monkeypatch.chdir(tmp_path)
    before = digest(checkout.root)
    with pytest.raises(HallmarkError) as caught:
        run("flats", *arguments)
    assert named in str(caught.value)
    assert digest(checkout.root) == before
    assert not list(checkout.domains.glob(".*"))


def test_columns_that_alone_tell_the_answer_are_named_at_once_with_the_options_that_leave_them_out(
    checkout: Settings, tmp_path: Path
) -> None:
    import pandas as pd

    file = table(tmp_path / "flats.csv")
    frame = pd.read_csv(file)
    frame["booked"], frame["deposit"] = frame["rent"].map("{:.2f} EUR".format), frame["rent"] * 3
    frame.to_csv(file, index=False)
    asked = ["flats", "--task", "regression", "--data", str(file), "--label", "rent", *left(["rent"])]
    with pytest.raises(DeclarationError) as caught:
        run(*asked, "--leave", "booked")
    assert caught.value.fix.endswith("add --leave deposit") and "deposit explains 1.000" in caught.value.got
    assert not (checkout.domains / "flats").exists()
    run(*asked, "--leave", "booked", "--leave", "deposit")
    assert "deposit" not in [field.name for field in domains.module("flats", "features", checkout).FIELDS]


@pytest.mark.slow
def test_another_domain_of_the_same_name_is_refused_and_the_same_one_stays(checkout: Settings, tmp_path: Path) -> None:
    file = table(tmp_path / "flats.csv")
    asked = ["flats", "--task", "regression", "--data", str(file), "--label", "rent", *left(["rent"])]
    run(*asked)
    before = digest(checkout.root)
    run(*asked)
    for other, got in (
        (["flats", "--task", "binary"], "task regression"),
        ([*asked[:5], "--label", "taken"], "label rent"),
        ([*asked, "--time", "moved"], "no time"),
        ([*asked, "--team", "rentals"], "team flats"),
        ([*asked, "--contact", "a@b.example"], "contact flats-oncall@hallmark.example"),
        ([*asked, "--description", "How much?"], "description What flats predicts: say it here."),
        ([*asked, "--leave", "district"], "district among what the model sees"),
        (["flats", "--like", "listing"], "task regression, and listing is multiclass"),
    ):
        with pytest.raises(DeclarationError, match="is there already") as caught:
            run(*other)
        assert caught.value.got == got
    assert digest(checkout.root) == before


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_what_is_written_is_as_the_formatter_would_have_it(checkout: Settings, task: str, tmp_path: Path) -> None:
    import pandas as pd

    file = table(tmp_path / "flats.csv")
    frame = pd.read_csv(file)
    frame["street"] = [f"a street of {number % 12} letters" for number in range(len(frame))]
    frame.to_csv(file, index=False)
    run("flats", "--task", task, "--data", str(file), *ROLES[task], *left(ROLES[task]))
    run("returns", "--task", task, *ARGUMENTS)
    fields = {field.name: field for field in domains.module("flats", "features", checkout).FIELDS}
    assert len(fields["street"].categories) == 12
    written = [str(checkout.domains / name) for name in ("flats", "returns")]
    settings = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    for command in (["format", "--check", "--diff"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *settings, *written], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_domain_answers_has_to_be_said(checkout: Settings) -> None:
    result = CliRunner().invoke(app, ["new", "returns"])
    assert isinstance(result.exception, DeclarationError) and "--task" in result.exception.expected
    assert not (checkout.domains / "returns").exists()
