"""`hallmark prompts` as its user has it: a prompt checked, registered, judged on its golden set, promoted, and a worse one refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hallmark.cli import main
from hallmark.prompts import prompt as prompts
from hallmark.prompts.messages import address
from hallmark.settings import Settings
from local_cluster import chat_standin
from local_cluster.chat_standin import FAULTS, ChatStandIn, Reply
from tests.hallmark.prompts.standin import running

ROOT = Path(__file__).parents[3]
NAME = "authentication-review"
Capsys = pytest.CaptureFixture[str]


class Knowing(ChatStandIn):
    """Knows the golden items by their last photo, and forgets the counterfeits where a prompt says "quickly".

    well: so many answers it gives, and then 500s.
    """

    well = 10**6

    def reply(self, asked: dict[str, Any]) -> Reply:
        self.asked.append(asked)
        if len(self.asked) > self.well:
            return FAULTS["500"][1](asked)
        golden = prompts.load(ROOT / "prompts", NAME).golden
        parts = asked["messages"][-1]["content"]
        seen = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        for item in golden:
            photos = item.given["photos"]
            assert isinstance(photos, tuple)
            if [address(each.bytes) for each in photos] == seen[: len(photos)]:
                right = dict(item.right)
                in_a_field = "the verdict is" in parts[0]["text"]
                right["orders"] = in_a_field or bool(right.get("orders"))
                if right.get("verdict") == "counterfeit" and "quickly" in asked["messages"][0]["content"]:
                    right["verdict"] = "authentic"
                return chat_standin.changed(**right)(asked)
        raise AssertionError("no golden item")


@pytest.fixture
def standin() -> Knowing:
    return Knowing()


@pytest.fixture
def llm(standin: Knowing) -> Iterator[str]:
    with running(standin) as url:
        yield url


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("domains", "inference_services"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    settings = Settings.load({"HALLMARK_ROOT": str(tmp_path), "HALLMARK_STATE": str(tmp_path / "state")})
    for key, value in {**settings.environment(), "COLUMNS": "200"}.items():
        monkeypatch.setenv(key, value)
    return tmp_path


def test_a_folder_is_checked_and_sealed(checkout: Path, tmp_path: Path, capsys: Capsys) -> None:
    assert main(["prompts", "check", "-o", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["prompt"], row["golden"], row["slices"]) == (NAME, 6, "authentic, counterfeit, orders")
    assert (row["a_slice_needs"], row["too_small"]) == (6, "authentic 2, counterfeit 2, orders 2")
    declared = checkout / "prompts" / NAME / "prompt.yaml"
    text = declared.read_text()
    declared.write_text(text.replace("golden: {", "golden: {confidence: 0.5, "))
    assert main(["prompts", "check"]) == 0
    shown = capsys.readouterr()
    assert "A SLICE NEEDS" in shown.out and "by the paired test of slices only beside" in " ".join(shown.err.split())
    assert main(["prompts", "check", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["a_slice_needs"] == 3
    declared.write_text(text)
    assert main(["prompts", "seal", NAME, str(tmp_path / "sealed"), "-o", "json"]) == 0
    assert (tmp_path / "sealed" / "manifest.json").is_file()
    path = checkout / "prompts" / NAME / "prompt.yaml"
    path.write_text(path.read_text().replace("{{ brand }}", "{{ brandt }}"))
    assert main(["prompts", "check", NAME]) == 2
    assert "brandt" in capsys.readouterr().err
    assert main(["prompts", "check", "other"]) == 1


def test_a_folder_of_something_else_is_left_as_it_is(checkout: Path, tmp_path: Path, capsys: Capsys) -> None:
    mine = tmp_path / "mine"
    (mine / "below").mkdir(parents=True)
    (mine / "prompt.json").write_text("mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for place, said in (
        (mine, "below, prompt.json"),
        (mine / "prompt.json", "mine/prompt.json, which is no folder"),
        (mine / "prompt.json" / "sealed", "mine/prompt.json, which is no folder"),
        (tmp_path / "nowhere", "nowhere, which is no folder"),
    ):
        assert main(["prompts", "seal", NAME, str(place)]) == 2
        told = capsys.readouterr().err
        assert said in told and "a new folder, or an empty one" in told
    assert sorted(each.name for each in mine.rglob("*")) == ["below", "prompt.json"]
    assert (mine / "prompt.json").read_text() == "mine"
    assert main(["prompts", "seal", NAME, str(mine / "below")]) == 0
    assert main(["prompts", "seal", NAME, str(mine / "below")]) == 2, "a sealed one too"


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:9", "127.0.0.1", "http://[::1", "http://", "http://a:b", "http://a b", "ftp://a", "http://a/?x=1", "http://ana:secret@a/#x"],
)  # fmt: skip
def test_judging_takes_the_address_of_a_server(checkout: Path, capsys: Capsys, url: str) -> None:
    assert main(["prompts", "judge", NAME, "--llm", url]) == 2
    said = capsys.readouterr().err
    assert "usage: --llm" in said and "http://127.0.0.1:8000" in said and "secret" not in said


@pytest.mark.parametrize("words", [(), ("7",)])
def test_a_version_that_is_not_there_is_told_with_commands_of_prompts(
    checkout: Path, capsys: Capsys, words: tuple[str, ...]
) -> None:
    assert main(["prompts", "judge", NAME, *words, "--llm", "http://127.0.0.1:9"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"the prompt {NAME} has no version {words[0] if words else 'challenger'}" in said
    assert "hallmark prompts list" in said and f"hallmark prompts register {NAME}" in said
    assert f"prompt-{NAME}" not in said


@pytest.mark.slow
def test_a_prompt_becomes_champion_on_its_golden_set_and_a_worse_one_does_not(
    checkout: Path, llm: str, capsys: Capsys, empty_registry: Path
) -> None:
    (checkout / "state").mkdir()
    shutil.copyfile(empty_registry, checkout / "state" / "mlflow.db")
    assert main(["prompts", "register", NAME]) == 0
    assert main(["prompts", "judge", NAME, "--llm", llm, "--promote"]) == 0
    capsys.readouterr()
    path = checkout / "prompts" / NAME / "prompt.yaml"
    path.write_text(path.read_text().replace("Say what you see", "Say quickly what you see"))
    assert main(["prompts", "register", NAME]) == 0
    capsys.readouterr()
    assert main(["prompts", "judge", NAME, "2", "--llm", llm, "--promote", "-o", "json"]) == 3
    told = capsys.readouterr()
    rows = {each["slice"]: (each["stable"], each["candidate"]) for each in json.loads(told.out)}
    assert rows == {"all": (6, 4), "authentic": (2, 2), "counterfeit": (2, 0), "orders": (2, 2)}
    assert "slice counterfeit: answers none of 2 items right" in told.err
    assert main(["prompts", "list", "-o", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["version"], row["champion"]) == (2, 1)


@pytest.mark.slow
def test_an_ill_server_judges_no_prompt_and_promotes_none(
    checkout: Path, standin: Knowing, llm: str, capsys: Capsys, empty_registry: Path
) -> None:
    (checkout / "state").mkdir()
    shutil.copyfile(empty_registry, checkout / "state" / "mlflow.db")
    assert main(["prompts", "register", NAME]) == 0

    def champion() -> object:
        capsys.readouterr()
        assert main(["prompts", "list", "-o", "json"]) == 0
        return json.loads(capsys.readouterr().out)[0]["champion"]

    assert main(["prompts", "judge", NAME, "--llm", "http://127.0.0.1:9", "--promote"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "http://127.0.0.1:9 is ill, so nothing was judged" in said and "Connection refused" in said
    assert champion() is None
    assert main(["prompts", "judge", NAME, "--llm", llm, "--promote"]) == 0
    path = checkout / "prompts" / NAME / "prompt.yaml"
    path.write_text(path.read_text().replace("Say what you see", "Say again what you see"))
    assert main(["prompts", "register", NAME]) == 0
    for well in (
        3,
        6,
        9,
    ):  # in the candidate's turn; between; in the champion's, whom each wrong item would make look worse
        del standin.asked[:]
        standin.well = well
        assert main(["prompts", "judge", NAME, "2", "--llm", llm, "--promote"]) == 1
        assert champion() == 1
    standin.well = 10**6
    assert main(["prompts", "judge", NAME, "2", "--llm", llm, "--promote"]) == 0
    assert champion() == 2
