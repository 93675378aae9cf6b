"""docs/tour.ipynb as a person runs it: from a file to a promoted canary, in a kernel of its own and a copy of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tour_goes_from_a_file_to_a_promoted_canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = tmp_path / "checkout"
    for name in subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, checkout / name)
    for name in [
        name for name in os.environ if name.startswith("HALLMARK_") or name in ("KUBECONFIG", "MLFLOW_TRACKING_URI")
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(checkout / "docs" / "tour.ipynb", as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(checkout / "docs")}}
    )
    try:
        client.execute()
    finally:
        down = [sys.executable, "-m", "hallmark.cli", "down"]
        subprocess.run(down, cwd=checkout, capture_output=True, check=False)
    outputs = [_shown(cell) for cell in notebook.cells if cell.cell_type == "code"]
    assert any("progression: version 1" in each for each in outputs)
    assert any("version 2 is a candidate" in each for each in outputs)
    assert any("version 2 is stable" in each for each in outputs)
    assert "smaller" in outputs[-3], "the reason of the promotion is in the history; a narrow table breaks its line"
    assert (checkout / ".hallmark" / "scored.parquet").is_file()


def _shown(cell: Any) -> str:
    return "\n".join(
        str(each.get("text") or "") + str((each.get("data") or {}).get("text/html") or "") for each in cell.outputs
    )
