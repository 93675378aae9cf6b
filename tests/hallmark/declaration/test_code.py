"""Domain code of several checkouts in one process: each imports its own."""

from __future__ import annotations

from pathlib import Path

from hallmark.declaration import code
from hallmark.settings import Settings


def checkout(root: Path, answer: int) -> Settings:
    folder = root / "domains" / "shared"
    folder.mkdir(parents=True)
    (folder / "features.py").write_text(f"ANSWER = {answer}\n", encoding="utf-8")
    (folder / "data.py").write_text(
        "from domains.shared.features import ANSWER\n\n\ndef draw():\n    from domains.shared.features import ANSWER as later\n\n"
        "    return ANSWER, later\n",
        encoding="utf-8",
    )
    return Settings.load({"HALLMARK_ROOT": str(root), "HALLMARK_STATE": str(root / "state")})


def test_a_module_imports_what_lies_beside_it_in_its_own_checkout(tmp_path: Path) -> None:
    for number in range(3):
        settings = checkout(tmp_path / str(number), number)
        assert code.module("shared", "data", settings).draw() == (number, number)
