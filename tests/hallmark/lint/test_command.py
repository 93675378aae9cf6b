"""`hallmark lint` as its user meets it: what it prints, and how it ends."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hallmark.cli import main
from hallmark.lint.catalogue import rules

FIXTURES = Path(__file__).parent / "fixtures"
ROOT = Path(__file__).parents[3]
BAD = FIXTURES / "HM201-percent-in-standard-mode" / "bad.yaml"
GOOD = FIXTURES / "HM201-percent-in-standard-mode" / "good.yaml"
WARNS = FIXTURES / "HM103-no-runtime" / "bad.yaml"


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Away from the checkout, so that its own files are no part of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HALLMARK_ROOT", raising=False)


def test_a_finding_is_one_line_that_editors_follow_with_why_and_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(BAD)]) == 3
    out, err = capsys.readouterr()
    first, at, why, fix = out.splitlines()
    assert first == f"{BAD}:12:5: error HM201 canaryTrafficPercent: 10 is ignored in Standard mode"
    assert at == "    at  spec.predictor.canaryTrafficPercent"
    assert why.startswith("    why Knative mode alone reads it") and fix.startswith("    fix write spec.canary")
    assert "refused: 1 error in 1 file" in err and "--explain HM201" in err


def test_a_clean_file_ends_with_0_and_a_warning_too_unless_strict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(GOOD)]) == 0
    assert capsys.readouterr() == ("", "nothing refused in 1 file\n")
    assert main(["lint", str(WARNS)]) == 0
    assert "1 warning in 1 file" in capsys.readouterr().err
    assert main(["lint", str(WARNS), "--strict"]) == 3


def test_a_domain_is_held_against_its_own_code_as_check_does(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    shutil.copytree(ROOT / "tests/toy/domains/toy", root / "domains/toy", ignore=shutil.ignore_patterns("__pycache__"))
    declaration = root / "domains/toy/domain.yaml"
    text = declaration.read_text(encoding="utf-8")
    entity = next(word for word in re.findall(r"entity: (\w+)", text))
    declaration.write_text(text.replace(f"entity: {entity}", "entity: someone"), encoding="utf-8")
    monkeypatch.setenv("HALLMARK_ROOT", str(root))
    assert main(["lint", str(root / "domains")]) == 3
    out = capsys.readouterr().out
    assert "error HM771 data.entity: someone is no column of the contract in domains/toy/data.py" in out
    for arguments in (["--no-code", str(root / "domains")], [], [str(root / "domains/toy/data.py")]):
        main(["lint", *arguments])
        assert "HM771" not in capsys.readouterr().out, "its code is run where its domain.yaml is named, and not refused"


def test_what_cannot_be_read_ends_with_2_even_beside_findings(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1\n", encoding="utf-8")
    assert main(["lint", str(BAD), str(broken)]) == 2
    out, err = capsys.readouterr()
    assert "HM201" in out and "broken.yaml:2:1 is not YAML" in err and "1 error in the 1 file" in err
    assert main(["lint", str(tmp_path / "nowhere")]) == 2
    assert main(["lint", str(GOOD), "--kserve", "new"]) == 2
    assert main(["lint", str(GOOD), "--against", "nowhere"]) == 2


def test_json_is_a_list_of_findings_with_all_that_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(BAD), "-o", "json"]) == 3
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["code"] == "HM201" and finding["key"] == "spec.predictor.canaryTrafficPercent"
    assert finding["outcome"] is None, "it is taken, and the share has no effect"
    assert set(finding) == {
        "code",
        "severity",
        "outcome",
        "file",
        "line",
        "column",
        "key",
        "message",
        "reason",
        "fix",
        "link",
    }


def test_standard_input_is_judged_as_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(BAD.read_bytes())))
    assert main(["lint", "-", "-o", "sarif"]) == 3
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "stdin"


def test_the_cluster_is_described_by_options() -> None:
    old = FIXTURES / "HM210-kserve-too-old" / "bad.yaml"
    assert main(["lint", str(old)]) == 0
    assert main(["lint", str(old), "--kserve", "0.20.1"]) == 3
    assert main(["lint", str(old), "--kserve", "0.21.0", "--no-gateway-api"]) == 3
    assert main(["lint", str(old), "--kserve", "0.21.0", "--gateway-api", "--mode", "standard"]) == 0


def test_rules_are_listed_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(rules()) + 1
    assert main(["lint", "--list", "-o", "json"]) == 0
    assert [row["code"] for row in json.loads(capsys.readouterr().out)] == [rule.code for rule in rules()]
    assert main(["lint", "--explain", "hm403"]) == 0
    assert "seconds first" in capsys.readouterr().out
    assert main(["lint", "--explain", "HM999"]) == 2


def test_outside_a_checkout_something_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint"]) == 2
    assert "not inside a Hallmark checkout" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_checkout_takes_less_than_two_seconds_of_a_processor() -> None:
    code = "import time; from hallmark.cli import main; main(['lint', '-o', 'json']); print(time.process_time())"
    least = min(float(_python(code).splitlines()[-1]) for _ in range(2))
    assert least < 2


def test_its_help_loads_nothing_heavy() -> None:
    code = "import sys; from hallmark.cli import main; main(['lint', '--help']); print(' '.join(sys.modules))"
    loaded = {name.split(".")[0] for name in _python(code).splitlines()[-1].split()}
    assert not loaded & {"kfp", "kubernetes", "kserve", "mlflow", "torch", "pandas"}
    begun = time.perf_counter()
    code = "import sys; from hallmark.cli import main; main(['lint', '--list']); print(' '.join(sys.modules))"
    loaded = {name.split(".")[0] for name in _python(code).splitlines()[-1].split()}
    assert (
        not loaded & {"kfp", "kubernetes", "kserve", "mlflow", "torch", "pandas"} and time.perf_counter() - begun < 10
    )


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "nothing came"),
        (b"  \n", "nothing came"),
        (b"\xff\xfe\x80", "not text"),
        (b"Error from server: no such host\n", "no object of Kubernetes"),
        (b"error building at that folder\n", "no object of Kubernetes"),
        (b"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n[a, b]\n", "no object of Kubernetes"),
    ],
)
def test_a_pipe_that_brings_nothing_is_no_build_that_is_clean(
    given: bytes, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert main(["lint", "-"]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_files_is_not_called_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(tmp_path)]) == 2
    assert "holds nothing to judge" in capsys.readouterr().err
