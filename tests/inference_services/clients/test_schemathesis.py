"""Schemathesis against the server by its own /openapi.json: no 5xx, every answer as declared, nothing wrong taken, nothing right refused."""

from __future__ import annotations

import base64
import copy
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from served import Server, jpeg

pytestmark = pytest.mark.slow
PHOTO = base64.b64encode(jpeg(8, 8)).decode()
TRUE = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"
STRICT = "negative_data_rejection,unsupported_method,allow_header_conformance,missing_required_header"


def schemathesis(
    server: Server, folder: Path, document: Any, *, checks: str, examples: int, more: tuple[str, ...] = ()
) -> None:
    """All its phases over `document`; fails with what it found."""
    pytest.importorskip("schemathesis", reason="not installed: pip install -e '.[dev]'")
    file = folder / "openapi.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(file), f"--url={server.url}", "--no-color"]
    command += [f"--checks={checks}", f"--max-examples={examples}", "--seed=1", "--request-timeout=10", *more]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)
    lines = [line[:300] for line in done.stdout.splitlines()]
    assert done.returncode == 0, "\n".join(lines[-150:]) + done.stderr[-2000:]


def asked(document: Any) -> tuple[Any, Any]:
    """The operations that take a V2 request and a V1 request."""
    name, paths = document["info"]["title"], document["paths"]
    return paths[f"/v2/models/{name}/infer"]["post"], paths[f"/v1/models/{name}:predict"]["post"]


def narrowed(document: Any, rows: int) -> Any:
    """The document for requests of `rows` records, all tensors alike: part of what the whole one says, and all of it JSON Schema can say.

    A photo is one that there is, what varies is as long as it may be, and tensors do not come in binary. Whole numbers are some that
    there are: JSON Schema takes 3.0 for one as well, the server does not.
    """
    narrow = copy.deepcopy(document)
    for operation in asked(narrow):
        operation["requestBody"]["content"] = {
            "application/json": operation["requestBody"]["content"]["application/json"]
        }
    v2, v1 = (operation["requestBody"]["content"]["application/json"]["schema"] for operation in asked(narrow))
    for form in v2["properties"]["inputs"]["items"]["anyOf"]:
        for tensor in form.get("anyOf", [form]):
            _fix(tensor["properties"], rows)
    records, table = v1["anyOf"][0]["properties"]["instances"], v1["anyOf"][1]["properties"]["inputs"]
    for each in (records, *table["properties"].values()):
        each.update(minItems=rows, maxItems=rows)
    _name_values(v2)
    _name_values(v1)
    return narrow


def _fix(tensor: Any, rows: int) -> None:
    """One tensor, of this many rows."""
    sides = [side["const"] if "const" in side else side["maximum"] for side in tensor["shape"]["prefixItems"]]
    sides[0] = rows
    varies = any("const" not in side for side in tensor["shape"]["prefixItems"][1:])
    tensor["shape"]["prefixItems"] = [{"const": side} for side in sides]
    for data in tensor["data"].get("anyOf", [tensor["data"]]):
        nested = data["items"].get("type") == "array"
        for side in sides if nested else [math.prod(sides)]:
            data.update(minItems=side, maxItems=side)
            data = data["items"]
        if varies and "null" in data["type"]:  # null is padding there, and so is an empty string
            data["type"] = next(kind for kind in data["type"] if kind != "null")
            data["minLength"] = 1


def _name_values(schema: Any) -> None:
    """Photos and whole numbers within as a few that there are."""
    for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        kinds = each.get("type", ()) if isinstance(each, dict) else ()
        nothing = [None] if "null" in kinds else []
        if isinstance(each, dict) and each.pop("contentEncoding", None):
            each["enum"] = [PHOTO, *nothing]
        elif "integer" in kinds:
            low, high = each["minimum"], each["maximum"]
            each["enum"] = [*{low, high, *(at for at in (-1, 0, 1, 7, 2**31) if low <= at <= high)}, *nothing]
        _name_values(each)


@pytest.mark.parametrize("name", ["orders", "garments"])
def test_every_answer_is_declared_and_nothing_wrong_is_taken(
    request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    server: Server = request.getfixturevalue(name)
    document = server.client.get("/openapi.json").json()
    schemathesis(server, tmp_path, document, checks=f"{TRUE},{STRICT}", examples=60)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", ["orders", "garments"])
def test_nothing_right_is_refused(request: pytest.FixtureRequest, tmp_path: Path, name: str, rows: int) -> None:
    server: Server = request.getfixturevalue(name)
    document = narrowed(server.client.get("/openapi.json").json(), rows)
    before = server.metric("hallmark_rest_requests_total", code="200")
    calls = server.metric("hallmark_model_calls_total")
    more = ("--mode=positive", "--exclude-deprecated")  # what is deprecated is the pinned versions, which are refused
    schemathesis(server, tmp_path, document, checks=f"{TRUE},positive_data_acceptance", examples=120, more=more)
    assert server.metric("hallmark_rest_requests_total", code="200") > before
    assert server.metric("hallmark_model_calls_total") > calls + 100
