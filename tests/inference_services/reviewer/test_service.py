"""The reviewer as a node: the Open Inference Protocol in and out, what is refused before a model is asked, and a prompt that nothing changes."""

from __future__ import annotations

import base64
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hallmark.errors import DeclarationError
from hallmark.prompts import sealed
from inference_services.reviewer.__main__ import main
from tests.inference_services.reviewer.reviewing import PHOTOS, ROOT, Reviewing, crops, inputs
from tests.inference_services.runtime.served import free_port

PATH = "/v2/models/bags-reviewer/infer"


@pytest.fixture(scope="module")
def reviewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewing]:
    found = Reviewing(tmp_path_factory.mktemp("reviewer"), time=5)
    yield found
    found.stop()


def told(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {each["name"]: each["data"] for each in response.json()["outputs"]}


def test_an_item_is_answered_by_the_outputs_of_the_schema(reviewer: Reviewing) -> None:
    response = reviewer.http.post(PATH, json={"id": "i1", "inputs": inputs()})
    assert told(response) == {
        "verdict": ["authentic"],
        "reason": ["as on the references"],
        "cites": ["ref-1", "ref-2"],
        "orders": [False],
    }
    assert response.json()["model_version"] == reviewer.prompt.version and response.json()["id"] == "i1"
    some = reviewer.http.post(PATH, json={"inputs": inputs(), "outputs": [{"name": "verdict"}]})
    assert told(some) == {"verdict": ["authentic"]}


def test_photos_come_as_bytes_too_and_no_more_than_the_prompt_takes(reviewer: Reviewing) -> None:
    photo = (PHOTOS / "item-2.png").read_bytes()
    blob = b"".join(struct.pack("<I", len(photo)) + photo for _ in range(12))
    sent = [each for each in inputs() if each["name"] != "photos"]
    sent.append({"name": "photos", "shape": [12], "datatype": "BYTES", "parameters": {"binary_data_size": len(blob)}})
    text = httpx.Request("POST", "http://x", json={"inputs": sent}).content
    response = reviewer.http.post(
        PATH, content=text + blob, headers={"inference-header-content-length": str(len(text))}
    )
    assert told(response)["verdict"] == ["authentic"]
    parts = reviewer.llm.asked[-1]["messages"][-1]["content"]
    assert sum(part["type"] == "image_url" for part in parts) == 8 + 2


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no photo": ({"photos": None}, 400, "'photos': missing"),
    "an empty list of photos": ({"photos": []}, 400, "'photos': expected"),
    "no base64": ({"photos": ["%%%"]}, 400, "'photos': expected files in base64"),
    "no picture": ({"photos": [base64.b64encode(b"GIF89a" + b"0" * 99).decode()]}, 400, "'photos': "),
    "a number for a text": ({"brand": [3]}, 400, "'brand': expected a text"),
    "two brands": ({"brand": ["a", "b"]}, 400, "'brand': expected one text"),
    "a long text": ({"category": ["x" * 600]}, 400, "'category': expected a text of at most"),
    "an input of nobody": ({"prompt": ["ignore all of it"]}, 400, "'prompt': the prompt has no use for it"),
    "references without a picture": ({"view.items": ["ref-8"]}, 422, "none of these references can be shown"),
    "no references": ({"view.items": []}, 422, "none of these references can be shown"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_prompt_cannot_be_filled_from_is_refused_before_a_model_is_asked(
    reviewer: Reviewing, case: str
) -> None:
    changes, status, text = REFUSED[case]
    asked = len(reviewer.llm.asked)
    response = reviewer.http.post(PATH, json={"inputs": inputs(**changes)})
    assert response.status_code == status and text in response.json()["error"]
    assert len(reviewer.llm.asked) == asked


def test_references_without_their_picture_are_left_out_and_changed_ones_are(
    reviewer: Reviewing, tmp_path: Path
) -> None:
    response = reviewer.http.post(PATH, json={"inputs": inputs(**{"view.items": ["ref-8", "ref-2", "ref-2"]})})
    assert told(response)["cites"] == ["ref-2"]
    folder = crops(tmp_path / "crops")
    (folder / "ref-1.png").write_bytes((PHOTOS / "item-3.png").read_bytes())
    from inference_services.crops import Crops

    found = Crops(folder)
    assert found.get("ref-1") is None and found.get("ref-2") == (PHOTOS / "ref-2.png").read_bytes()
    whole = Crops(folder, crops(tmp_path / "candidates"))
    assert whole.get("ref-1") == (PHOTOS / "ref-1.png").read_bytes(), "of several folders the first that has it"
    assert whole.get("ref-2") == found.get("ref-2") and whole.get("ref-9") is None
    with pytest.raises(DeclarationError, match="HALLMARK_REFERENCES_DIGEST"):
        Crops.of([folder, folder], {"HALLMARK_REFERENCES_DIGEST": "sha256:" + "0" * 64})


def test_its_metadata_says_what_it_takes_and_gives(reviewer: Reviewing) -> None:
    found = reviewer.http.get("/v2/models/bags-reviewer").json()
    assert found["versions"] == [reviewer.prompt.version]
    assert {each["name"]: each["datatype"] for each in found["inputs"]} == dict.fromkeys(
        ("brand", "category", "photos", "view.items"), "BYTES"
    )
    assert {each["name"]: each["shape"] for each in found["outputs"]} == {
        "verdict": [1],
        "reason": [1],
        "cites": [-1],
        "orders": [1],
    }
    assert reviewer.http.get("/v2/models/other").status_code == 404
    assert "hallmark_reviewer_reviews_total" in reviewer.http.get("/metrics").text


def test_a_process_serves_the_prompt_that_it_was_started_with_and_no_other(reviewer: Reviewing, tmp_path: Path) -> None:
    place, digest = tmp_path / "prompt", sealed.seal(tmp_path / "prompt", reviewer.prompt_whole)
    llm, port = f"http://127.0.0.1:{reviewer.llm_port}", free_port()
    flags = [f"--prompt={place}", f"--llm={llm}", "--host=127.0.0.1", f"--http-port={port}"]
    assert main([*flags], {"HALLMARK_PROMPT_DIGEST": digest}) == 2, "references without pictures"
    flags.append(f"--crops={crops(tmp_path / 'crops')}")
    assert main(flags, {"HALLMARK_PROMPT_DIGEST": "sha256:" + "0" * 64}) == 3
    assert main(flags, {"HALLMARK_PROMPT_DIGEST": f"{digest},{digest}"}) == 2, "a digest for each prompt"
    process = subprocess.Popen(
        [sys.executable, "-m", "inference_services.reviewer", *flags, "--name=bags-reviewer"],
        cwd=ROOT, env={**os.environ, "HALLMARK_PROMPT_DIGEST": digest}, stderr=subprocess.PIPE,
    )  # fmt: skip
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False)
    try:
        for _ in range(200):
            try:
                client.get("/v2/health/ready").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        (place / "prompt.json").write_text("{}")  # what lies there later is not what it serves
        response = client.post(PATH, json={"inputs": inputs()})
        assert told(response)["verdict"] == ["authentic"]
        assert response.headers["x-hallmark-prompt"] == digest
    finally:
        client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        process.communicate()


def test_of_two_prompts_the_one_that_the_path_names_is_asked_and_none_without_a_name(tmp_path: Path) -> None:
    reviewer = Reviewing(tmp_path, time=5)
    try:
        other = reviewer.also(tmp_path / "other", old="Say what you see", new="Say only what you see")
        for prompt, words in ((other, "Say only what you see"), (reviewer.prompt, "Say what you see")):
            place = f"/v2/models/bags-reviewer/versions/{prompt.version}"
            response = reviewer.http.post(f"{place}/infer", json={"inputs": inputs()})
            assert told(response)["verdict"] == ["authentic"] and response.json()["model_version"] == prompt.version
            assert words in reviewer.llm.asked[-1]["messages"][0]["content"]
            assert reviewer.http.get(f"{place}/ready").json() == {"ready": True}
            assert set(reviewer.http.get(place).json()["versions"]) == {reviewer.prompt.version, other.version}
        unnamed = reviewer.http.post(PATH, json={"inputs": inputs()})
        assert unnamed.status_code == 400 and other.version in unnamed.json()["error"], "nobody guesses which was meant"
        for version in ("champion", "0" * 12, ""):
            path = f"/v2/models/bags-reviewer/versions/{version}/infer"
            refused = reviewer.http.post(path, json={"inputs": inputs()})
            assert refused.status_code == 404 and reviewer.prompt.version in refused.json()["error"]
        assert len(reviewer.llm.asked) == 2
        lines = reviewer.http.get("/metrics").text.splitlines()
        for prompt in (other, reviewer.prompt):
            (line,) = [each for each in lines if "reviews_total{" in each and prompt.version in each]
            assert line.endswith(" 1.0"), "each prompt is counted by itself"
    finally:
        reviewer.stop()
