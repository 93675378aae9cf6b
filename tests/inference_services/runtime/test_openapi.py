"""/openapi.json: valid as OpenAPI 3.1, made of the declaration, and true of what the server takes and answers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from garments import garments_folder
from openapi_spec_validator import OpenAPIV31SpecValidator
from served import Server, order_inputs

from hallmark import __version__


@pytest.fixture(scope="module")
def garments_server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("garments")
    server = Server(folder, "garments", notice=0, env={"HALLMARK_MODEL_DIGEST": garments_folder(folder)})
    server.wait_ready()
    yield server
    assert server.stop() == 0


def read(server: Server) -> Any:
    answer = server.client.get("/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    return answer.json()


def bodies(document: Any, protocol: str) -> tuple[str, Any, Any]:
    """A protocol's path, and what it declares for JSON in and out."""
    name = document["info"]["title"]
    path = {"v2": f"/v2/models/{name}/infer", "v1": f"/v1/models/{name}:predict"}[protocol]
    operation = document["paths"][path]["post"]
    media = "application/json"
    return path, operation["requestBody"]["content"][media], operation["responses"]["200"]["content"][media]["schema"]


def fits(value: Any, schema: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


@pytest.mark.parametrize("name", ["orders", "photos", "garments"])
def test_it_is_valid_and_its_examples_are_taken_and_answered_as_it_says(
    request: pytest.FixtureRequest, name: str
) -> None:
    server: Server = request.getfixturevalue(f"{name}_server")
    document = read(server)
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert document["info"] | {"description": ""} == {"title": name, "version": "2", "description": ""}
    assert __version__ in document["info"]["description"]
    for protocol in ("v2", "v1"):
        path, asks, answers = bodies(document, protocol)
        jsonschema.Draft202012Validator.check_schema(asks["schema"])
        assert fits(asks["example"], asks["schema"])
        answer = server.client.post(path, json=asks["example"])
        assert answer.status_code == 200, answer.text
        assert fits(answer.json(), answers)


@pytest.mark.parametrize("name", ["orders", "photos", "garments"])
def test_every_path_in_it_is_there_and_answers_as_it_says(request: pytest.FixtureRequest, name: str) -> None:
    server: Server = request.getfixturevalue(f"{name}_server")
    document = read(server)
    error = document["components"]["schemas"]["Error"]
    for path, operations in document["paths"].items():
        if "get" in operations and "{version}" not in path:
            answer = server.client.get(path)
            content = operations["get"]["responses"]["200"]["content"]
            media = answer.headers["content-type"].partition(";")[0]
            assert answer.status_code == 200
            assert fits(answer.json() if media == "application/json" else answer.text, content[media]["schema"]), path
            assert server.client.head(path).headers["content-length"]
        else:
            refused = server.client.put(path.replace("{version}", "1"))
            assert refused.status_code == 405
            known = {method.upper() for method in operations} - {"PARAMETERS"}
            assert set(refused.headers["allow"].split(", ")) == known
            assert fits(refused.json(), error)


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "as it is": lambda tensors: None,
    "below the minimum": lambda tensors: tensors["amount"].update(data=[0.25]),
    "above the maximum": lambda tensors: tensors["age"].update(data=[3651]),
    "a number as text": lambda tensors: tensors["amount"].update(data=["12.5"]),
    "a fraction": lambda tensors: tensors["orders"].update(data=[1.5]),
    "beyond 32 bits": lambda tensors: tensors["orders"].update(data=[2**31]),
    "beyond FP32": lambda tensors: tensors["vector"].update(data=[1e39, 0, 0, 0]),
    "no category": lambda tensors: tensors["payment"].update(data=["cash"]),
    "null where nothing may be missing": lambda tensors: tensors["note"].update(data=[None]),
    "another datatype": lambda tensors: tensors["amount"].update(datatype="FP32"),
    "another rank": lambda tensors: tensors["vector"].update(shape=[1, 4]),
    "no rows": lambda tensors: tensors["amount"].update(shape=[0], data=[]),
    "a tensor too few": lambda tensors: tensors.pop("note"),
    "another name": lambda tensors: tensors["note"].update(name="notes"),
    "nested": lambda tensors: tensors["vector"].update(data=[[[0.1, 0.2], [0.3, 0.4]]]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_document_refuses_the_server_refuses_and_the_other_way_round(
    orders_server: Server, change: str
) -> None:
    tensors = {tensor["name"]: tensor for tensor in copy.deepcopy(order_inputs())}
    CHANGES[change](tensors)
    body = {"inputs": list(tensors.values())}
    _, asks, _ = bodies(read(orders_server), "v2")
    taken = change in ("as it is", "nested")
    assert fits(body, asks["schema"]) == taken
    assert (orders_server.infer(body).status_code == 200) == taken


def test_what_may_be_missing_and_what_varies_is_in_it(garments_server: Server) -> None:
    _, asks, _ = bodies(read(garments_server), "v1")
    record = asks["schema"]["anyOf"][0]["properties"]["instances"]["items"]
    assert record["required"] == ["title", "views", "sizes"]
    fields = record["properties"]
    assert fields["title"] == {"type": "string", "maxLength": 40}
    assert fields["price"] == {"type": ["number", "null"], "minimum": 0, "maximum": 10_000}
    assert fields["stock"] == {"type": ["integer", "null"], "minimum": 0, "maximum": 2**53}
    assert fields["brand"]["enum"] == ["acme", "zeta", "", None]
    assert (fields["tags"]["type"], fields["tags"]["maxItems"]) == (["array", "null"], 4)
    assert (fields["sizes"]["minItems"], fields["sizes"]["maxItems"]) == (1, 3)
    assert fields["sizes"]["items"]["minItems"] == fields["sizes"]["items"]["maxItems"] == 2
    twice = {"instances": [asks["example"]["instances"][0]] * 64}
    assert fits(twice, asks["schema"])
    assert not fits({"instances": twice["instances"] * 2}, asks["schema"])


def test_a_tool_finds_the_server_beside_the_document_wherever_it_was_read(
    tmp_path: Path, orders_server: Server
) -> None:
    """Behind the gateway's /serving/<domain>/<name> as well: the address is relative."""
    assert [one["url"] for one in read(orders_server)["servers"]] == ["."]
