"""Domain code: each of several checkouts in one process imports its own, and what stops there is named with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hallmark.declaration import code
from hallmark.errors import DeclarationError
from hallmark.settings import Settings


def checkout(root: Path, answer: int) -> Settings:
    folder = root / "domains" / "shared"
    folder.mkdir(parents=True)
    (folder / "features.py").write_text(f"ANSWER = {answer}\n", encoding="utf-8")
    (folder / "data.py").write_text(
        "from domains.shared.features import ANSWER\n\ncontract = None\n\n\ndef draw():\n    from domains.shared.features import ANSWER as later\n\n"
        "    return ANSWER, later\n",
        encoding="utf-8",
    )
    return Settings.load({"HALLMARK_ROOT": str(root), "HALLMARK_STATE": str(root / "state")})


def test_a_module_imports_what_lies_beside_it_in_its_own_checkout(tmp_path: Path) -> None:
    for number in range(3):
        settings = checkout(tmp_path / str(number), number)
        assert code.module("shared", "data", settings).draw() == (number, number)


@pytest.mark.parametrize(
    ("line", "expected", "got"),
    [
        ('Field(name="share", datatype="FP64", minimum=2, maximum=1)', "a minimum up to the maximum", "2 and 1"),
        ('Field(name="share", datatype="BOOL", categories=("a",))', "categories with BYTES only", "BOOL"),
        ('Field(name="share", datatyp="BOOL")', "datatype", "did you mean datatype?"),
        ('Field(name="share", datatype="FP16")', "datatype: 'BOOL', 'INT32'", "'FP16'"),
        ('Field(name="share", datatype="BOOL", nullable=True)', "fits together", "did you mean optional=True"),
        ('Output(name="share")', "datatype", "nothing"),
        ("Feild()", "runs to its end", "NameError: name 'Feild' is not defined"),
        ("1 +", "runs to its end", "SyntaxError: invalid syntax"),
        ("int('one')", "runs to its end", "ValueError: invalid literal"),
    ],
)
def test_code_that_stops_while_it_is_read_is_named_with_its_line(
    tmp_path: Path, line: str, expected: str, got: str
) -> None:
    settings = checkout(tmp_path, 1)
    features = "from hallmark.features.fields import Field, Output\n\nANSWER = 1\nFIELDS = (\n" + f"    {line},\n)\n"
    (tmp_path / "domains/shared/features.py").write_text(features, encoding="utf-8")
    for part in ("features", "data"):  # data.py imports the other
        with pytest.raises(DeclarationError) as told:
            code.module("shared", part, settings)
        assert "domains/shared/features.py:5" in told.value.message and "features.py:5" in told.value.fix
        assert expected in told.value.expected and got in told.value.got


def test_code_without_what_every_domain_has_is_named(tmp_path: Path) -> None:
    settings = checkout(tmp_path, 1)
    text = "FIELDS = ()\n\n\ndef encod(columns):\n    return columns\n"
    (tmp_path / "domains/shared/features.py").write_text(text, encoding="utf-8")
    with pytest.raises(DeclarationError, match=r"domains/shared/features.py lacks encode") as told:
        code.module("shared", "features", settings)
    assert told.value.fix == "did you mean encod? call it encode"


def test_serving_code_may_order_what_is_found_and_add_nothing(tmp_path: Path) -> None:
    settings = checkout(tmp_path, 2)
    for name, text in (
        ("shared", "def order(record, candidates, scores):\n    return []\n"),
        ("other", "OUTPUTS = ()\n"),
    ):
        (tmp_path / "domains" / name).mkdir(exist_ok=True)
        (tmp_path / "domains" / name / "serving.py").write_text(text, encoding="utf-8")
    assert code.module("shared", "serving", settings).order({}, {}, []) == []
    with pytest.raises(DeclarationError, match=r"domains/other/serving.py lacks answer") as told:
        code.module("other", "serving", settings)
    assert told.value.expected == "OUTPUTS and answer, or order alone"
