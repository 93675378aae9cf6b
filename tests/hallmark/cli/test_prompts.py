"""`hallmark prompts` as its user has it: a prompt checked, registered, judged on its golden set, promoted, and a worse one refused."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hallmark.cli import main
from hallmark.prompts import prompt as prompts
from hallmark.prompts.messages import address
from hallmark.settings import Settings
from local_cluster import chat_standin
from local_cluster.chat_standin import ChatStandIn

ROOT = Path(__file__).parents[3]
NAME = "authentication-review"
Capsys = pytest.CaptureFixture[str]


class Knowing(ChatStandIn):
    """Knows the golden items by their last photo, and forgets the counterfeits where a prompt says "quickly"."""

    def reply(self, asked: dict[str, Any]) -> bytes:
        self.asked.append(asked)
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
def llm() -> Iterator[str]:
    loop, standin = asyncio.new_event_loop(), Knowing()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(standin.start(), loop).result(10)
    yield f"http://127.0.0.1:{port}"
    loop.call_soon_threadsafe(standin.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


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
    assert main(["prompts", "seal", NAME, str(tmp_path / "sealed"), "-o", "json"]) == 0
    assert (tmp_path / "sealed" / "manifest.json").is_file()
    path = checkout / "prompts" / NAME / "prompt.yaml"
    path.write_text(path.read_text().replace("{{ brand }}", "{{ brandt }}"))
    assert main(["prompts", "check", NAME]) == 2
    assert "brandt" in capsys.readouterr().err
    assert main(["prompts", "check", "other"]) == 1


def test_judging_takes_a_server(checkout: Path, capsys: Capsys) -> None:
    assert main(["prompts", "judge", NAME]) == 2
    assert "--llm" in capsys.readouterr().err


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
