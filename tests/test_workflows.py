"""The workflows: pinned, with least permissions, and calling only what is there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(path.name for path in FOLDER.glob("*.yml"))
TOOLS = {"docker", "kubectl", "python", "terraform"}
"""What the runner has, or a step before brings."""
SHELL = {"fix", "done", "if", "then", "fi"}


def workflow(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((FOLDER / name).read_text(), Loader=yaml.BaseLoader)  # noqa: S506  `on` stays a word
    return found


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def test_there_is_one_for_each_thing_that_is_checked() -> None:
    assert WORKFLOWS == ["check.yml", "images.yml", "manifests.yml", "terraform.yml", "test.yml"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commit_and_say_their_version(name: str) -> None:
    text = (FOLDER / name).read_text()
    uses = re.findall(r"uses: (\S+)(.*)", text)
    assert uses
    for action, comment in uses:
        assert re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r"  # v\d+\.\d+\.\d+", comment), action


def test_one_action_is_one_version_in_all_of_them() -> None:
    every = [step["uses"] for name in WORKFLOWS for step in steps(name) if "uses" in step]
    assert len(set(every)) == len({each.split("@")[0] for each in every})


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_little_and_ends(name: str) -> None:
    found = workflow(name)
    assert found["permissions"] == {}
    assert found["concurrency"]["group"].startswith(found["name"])
    for job in found["jobs"].values():
        assert int(job["timeout-minutes"]) <= 60
        writes = {key for key, value in job["permissions"].items() if value != "read"}
        assert writes <= {"manifests.yml": {"security-events"}, "images.yml": {"id-token"}}.get(name, set())
    for step in steps(name):
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] == "false"


def unknown(line: str) -> str:
    """Programs that a line of a script calls and that is neither in this repository nor a tool; empty where all is known."""
    words = shlex.split(line, comments=True)
    if words[:1] == ["for"]:
        return ""
    while words and words[0] in SHELL:
        words = words[1:]
    if not words or words[0].startswith("-"):
        return ""
    first = words[0]
    if first == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        return "" if set(words[1:]) <= set(targets) and words[1:] else line
    if first.startswith(".venv/bin/"):
        scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
        return "" if first.removeprefix(".venv/bin/") in scripts else line
    if first in TOOLS:
        return ""
    file = ROOT / first
    return "" if "/" in first and file.is_file() and file.stat().st_mode & 0o100 else line


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_line_that_is_run_calls_what_is_there(name: str) -> None:
    for step in steps(name):
        lines = step.get("run", "").replace("\\\n", " ").splitlines()
        assert [line for line in lines if unknown(line)] == []


def test_a_line_that_calls_what_is_not_there_is_seen() -> None:
    for line in ("make chek", "make", ".ci/nothing", ".venv/bin/hallmrk render", "curl https://example.org | sh"):
        assert unknown(line) == line
    assert unknown("make check") == "" and unknown(".ci/sbom image file") == ""


def test_commands_of_ours_take_the_options_that_they_are_given() -> None:
    for name in WORKFLOWS:
        for step in steps(name):
            for words in re.findall(r"\.venv/bin/hallmark (.+?)(?: >|$)", step.get("run", ""), re.M):
                command, *options = words.split()
                done = subprocess.run(
                    [sys.executable, "-m", "hallmark.cli", command, "--help"], capture_output=True, text=True, cwd=ROOT
                )
                assert done.returncode == 0, words
                for option in options:
                    if option.startswith("-"):
                        assert re.search(rf"(^|[\s,]){re.escape(option)}\b", done.stdout), words


def test_what_a_workflow_waits_for_is_there() -> None:
    for name in ("images.yml", "terraform.yml"):
        for event in workflow(name)["on"].values():
            for path in (event or {}).get("paths", []):
                assert list(ROOT.glob(path.removesuffix("/**"))), path


def test_every_image_has_a_stage_and_every_stage_an_image() -> None:
    (job,) = workflow("images.yml")["jobs"].values()
    copied = re.findall(r"^FROM base AS (\S+)", (ROOT / "Dockerfile").read_text(), re.M)
    assert sorted(job["strategy"]["matrix"]["stage"]) == sorted(copied)


def test_pull_requests_push_nothing() -> None:
    pushing = [step for name in WORKFLOWS for step in steps(name) if "push" in step.get("run", "")]
    secret = [step for name in WORKFLOWS for step in steps(name) if "secrets." in str(step)]
    assert pushing and secret == pushing
    for step in pushing:
        assert step["if"] == "github.event_name != 'pull_request'"


PRETEND = """#!/bin/sh
case "$(basename "$0") $*" in
  curl*) echo '{"value": "job-token"}' ;;
  aws*) echo "$AWS_ROLE_ARN $AWS_REGION $(cat "$AWS_WEB_IDENTITY_TOKEN_FILE")" ;;
  "docker login"*) echo "$* $(cat)" >> "$RUNNER_TEMP/logins" ;;
esac
"""


@pytest.mark.parametrize(
    ("given", "signed_in"),
    [
        (
            {"REGISTRY_USER": "ci", "REGISTRY_TOKEN": "secret", "REGISTRY_ROLE": ""},
            "--username ci --password-stdin secret",
        ),
        (
            {"REGISTRY_ROLE": "arn:aws:iam::1:role/ci", "REGISTRY_TOKEN": ""},
            "--username AWS --password-stdin arn:aws:iam::1:role/ci eu-central-1 job-token",
        ),
    ],
)
def test_images_are_pushed_with_a_password_or_by_the_jobs_own_token(
    tmp_path: Path, given: dict[str, str], signed_in: str
) -> None:
    for program in ("curl", "aws", "docker"):
        (tmp_path / program).write_text(PRETEND)
        (tmp_path / program).chmod(0o755)
    host = "111111111111.dkr.ecr.eu-central-1.amazonaws.com"
    environment = {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "RUNNER_TEMP": str(tmp_path),
        "REGISTRY": f"{host}/hallmark",
        "PYTHON_IMAGE": "python@sha256:0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t",
        "ACTIONS_ID_TOKEN_REQUEST_URL": "https://token.example/?a=b",
    }
    done = subprocess.run(
        [str(ROOT / ".ci" / "push"), "serving", "1"], env={**environment, **given}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "logins").read_text().strip() == f"login {host} {signed_in}"
    assert not (tmp_path / "registry-token").exists()


def test_zizmor_finds_nothing() -> None:
    if shutil.which("zizmor") is None:
        pytest.skip("zizmor is not here")
    done = subprocess.run(
        ["zizmor", "--offline", "--no-progress", str(ROOT / ".github")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_zizmor_would_see_a_wide_one(tmp_path: Path) -> None:
    if shutil.which("zizmor") is None:
        pytest.skip("zizmor is not here")
    wide = (FOLDER / "check.yml").read_text().replace("permissions: {}", "permissions: write-all")
    (tmp_path / "check.yml").write_text(wide.replace("make check", "echo ${{ github.event.pull_request.title }}"))
    done = subprocess.run(
        ["zizmor", "--offline", "--no-progress", str(tmp_path / "check.yml")], capture_output=True, text=True
    )
    assert done.returncode != 0
