"""The OpenAPI 3.1 document of one served model, made of its declaration: what is asked, answered and refused over REST.

Fields come as JSON Schema: types, ranges, categories, lengths, what may be missing. JSON Schema has no word for what holds between two
values, so `description` says it: tensors of one request have the same number of rows, and `data` has as many values as `shape` says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from hallmark.features.arrays import objects
from hallmark.features.fields import Output
from inference_services.protocol import v2
from inference_services.protocol.column import Column
from inference_services.protocol.schema import Schema

Json = dict[str, Any]

PATH = "/openapi.json"
_JSON, _BINARY, _TEXT = "application/json", "application/octet-stream", "text/plain"
_OF = {"BOOL": "boolean", "INT32": "integer", "INT64": "integer", "FP32": "number", "FP64": "number", "BYTES": "string"}
_MOST = float(np.finfo(np.float64).max)
_REFUSED = {
    "400": ("the request is not what the model takes; the text names the field and what it expects", ()),
    "413": ("the body is larger than the server reads", ()),
    "415": ("a content type or coding that is not read", ("Accept-Encoding",)),
    "500": ("the model or its code failed", ()),
    "503": ("too much to do, loading, or about to stop", ("Retry-After",)),
}
"""Status -> when it is answered, and the header that may say more."""
_PARAMETER: Json = {"type": ["boolean", "number", "string"]}
_COMPRESSED = "The body may be in gzip or deflate, with Content-Encoding."


def document(schema: Schema, *, server: str) -> Json:
    """The document of the model that `schema` compiles; `server` is the version of the program that serves it."""
    fields = "; ".join(
        f"{column.name}: {column.field.description}" for column in schema.columns.values() if column.field.description
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": schema.name,
            "version": schema.version or "unversioned",
            "description": f"Served by hallmark-runtime {server}, by the Open Inference Protocol (V2) and KServe's V1. {fields}".strip(),
        },
        "servers": [{"url": ".", "description": "the folder that this document was read from"}],
        "paths": _paths(schema),
        "components": {
            "schemas": {"Error": _object({"error": {"type": "string"}, "code": {"type": "integer"}}, ["error"])},
            "responses": {
                **{f"Refused{status}": _refused(*about) for status, about in _REFUSED.items()},
                "Refused": _refused("another refusal: 404, 405 with Allow, 408, 431", ("Allow",)),
            },
        },
    }


def _paths(schema: Schema) -> Json:
    text, flag = {"type": "string"}, {"const": True}
    model, names = f"/v2/models/{schema.name}", _list({"const": schema.name}, 1, 1)
    ready = _object({"name": {"const": schema.name}, "ready": flag})
    metadata = _object({key: {"const": value} for key, value in schema.metadata().items()})
    about = _object({"name": text, "version": text, "extensions": _list(text)})
    index = {key: {"const": value} for key, value in (("name", schema.name), ("version", schema.version))}
    asked, example = _infer(schema), msgspec.json.decode(v2.request_text(schema, schema.example(1), 1))
    read = {
        "/": ("server", "Is the process alive?", _object({"status": {"const": "alive"}})),
        "/v2": ("server", "The server's name, version and extensions", about),
        "/v2/health/live": ("server", "Is the process alive?", _object({"live": flag})),
        "/v2/health/ready": ("server", "May requests be sent here? 503 where not", _object({"ready": flag})),
        "/v2/models": ("V2", "The models of this server", _object({"models": names})),
        model: ("V2", "The model's inputs and outputs; -1 is an axis that varies", metadata),
        f"{model}/ready": ("V2", "Is the model ready? 503 where not", ready),
        "/v1/models": ("V1", "The models of this server", _object({"models": names})),
        f"/v1/models/{schema.name}": ("V1", "Is the model ready? 503 where not", ready),
        PATH: ("server", "This document", {"type": "object"}),
    }
    tensors = f"{_COMPRESSED} Tensors have the same number of rows, at most {schema.row_limit}; `data` has as many values as `shape` says, or is nested like it."
    binary = "JSON of the length that Inference-Header-Content-Length says, then the bytes of the tensors that have a `binary_data_size`."
    bodies = {
        _JSON: {"schema": asked, "example": example},
        _BINARY: {"schema": {"type": "string", "contentMediaType": _BINARY, "description": binary}},
    }
    answers = {
        _JSON: {"schema": _inferred(schema)},
        _BINARY: {"schema": {"type": "string", "contentMediaType": _BINARY}},
    }
    rows = {_JSON: {"schema": _predict(schema), "example": {"instances": [_record(example)]}}}
    predictions = {_JSON: {"schema": _object({"predictions": _list(_prediction(schema))})}}
    pinned = {
        "name": "version",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    }
    return {
        **{path: _reads(tag, summary, {_JSON: {"schema": of}}) for path, (tag, summary, of) in read.items()},
        "/metrics": _reads("server", "Metrics, as Prometheus reads them", {_TEXT: {"schema": text}}),
        f"{model}/infer": {
            "post": _operation("V2", "Predictions by tensors", answers, asks=bodies, description=tensors)
        },
        f"/v1/models/{schema.name}:predict": {
            "post": _operation("V1", "Predictions by records", predictions, asks=rows, description=_COMPRESSED)
        },
        **(_changes(schema) if schema.put else {}),
        "/v2/repository/index": {
            "post": _operation(
                "repository", "The model's state", {_JSON: {"schema": _list(_object({**index, "state": text}), 1, 1)}}
            )
        },
        f"/v2/repository/models/{schema.name}/load": {
            "post": _operation(
                "repository",
                "Is it loaded?",
                {_JSON: {"schema": _object({"name": {"const": schema.name}, "load": flag})}},
            )
        },
        **{f"{model}/versions/{{version}}{rest}": _closed(pinned, method) for rest, method in _PINNED.items()},
    }


_PINNED = {"": "get", "/ready": "get", "/infer": "post"}


def _closed(pinned: Json, method: str) -> Json:
    summary = "Refused by every revision: the rollout chooses the version, and the answer names it"
    found = {
        "tags": ["V2"],
        "summary": summary,
        "deprecated": True,
        "responses": {"400": _ref("Refused400"), "default": _ref("Refused")},
    }
    return {"parameters": [pinned], method: found, **({"head": found} if method == "get" else {})}


def _reads(tag: str, summary: str, answers: Json) -> Json:
    """A path that is read, with and without its body."""
    return {
        "get": _operation(tag, summary, answers),
        "head": _operation(tag, f"{summary}; headers alone", {}),
    }


def _operation(tag: str, summary: str, answers: Json, *, asks: Json | None = None, description: str = "") -> Json:
    headers = {
        name: {"schema": {"type": "string"}, "description": text}
        for name, text in {
            "X-Hallmark-Model-Version": "version of the model that answered",
            "X-Hallmark-Revision": "revision that answered",
        }.items()
    }
    found: Json = {"tags": [tag], "summary": summary}
    if description:
        found["description"] = description
    if asks is not None:
        found["requestBody"] = {"required": True, "content": asks}
    content = {"content": answers} if answers else {}
    refusals = _REFUSED if asks is not None else ("503",)
    return {
        **found,
        "responses": {
            "200": {"description": "the answer", "headers": headers, **content},
            **{status: _ref(f"Refused{status}") for status in refusals},
            "default": _ref("Refused"),
        },
    }


def _refused(text: str, headers: Sequence[str]) -> Json:
    content = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    named = {"headers": {name: {"schema": {"type": "string"}} for name in headers}} if headers else {}
    return {"description": text, "content": content, **named}


def _infer(schema: Schema) -> Json:
    """The body of a V2 request in JSON."""
    wanted = _object(
        {
            "name": {"enum": list(schema.outputs)},
            "parameters": _parameters({"binary_data": {"type": "boolean"}, "classification": {"enum": [False, 0, ""]}}),
        },
        ["name"],
    )
    required = [not column.field.optional for column in schema.columns.values()]
    inputs = {
        **_list({"anyOf": [_input(schema, column) for column in schema.columns.values()]}, max(1, sum(required))),
        "maxItems": len(required),
        "allOf": [_once(name, int(least)) for name, least in zip(schema.columns, required, strict=True)],
    }
    outputs = {**_list(wanted), "type": ["array", "null"], "maxItems": len(schema.outputs)}
    if len(schema.outputs) > 1:
        outputs["allOf"] = [_once(name, 0) for name in schema.outputs]
    parameters = _parameters({"binary_data_output": {"type": "boolean"}})
    named = {"type": ["string", "null"], "maxLength": v2.ID_LIMIT}
    return _object({"id": named, "inputs": inputs, "outputs": outputs, "parameters": parameters}, ["inputs"])


def _input(schema: Schema, column: Column) -> Json:
    """One tensor, in each of the datatypes that it may come in."""
    field, rows = column.field, {"type": "integer", "minimum": 1, "maximum": schema.row_limit}
    least, most = (0 if field.optional else 1), field.at_most
    sides = [
        rows,
        *({"const": s} if s else {"type": "integer", "minimum": least, "maximum": most} for s in field.shape),
    ]
    shape = {"type": "array", "prefixItems": sides, "items": False, "minItems": len(sides)}
    forms = [
        _object(
            {
                "name": {"const": column.name},
                "datatype": {"const": datatype},
                "shape": shape,
                "data": _data(element, depth=len(field.shape)),
                "parameters": _parameters({"binary_data_size": False}),
            },
            ["name", "datatype", "shape", "data"],
        )
        for datatype, element in _forms(column)
    ]
    described = {"description": field.description} if field.description else {}
    return {**forms[0], **described} if len(forms) == 1 else {"anyOf": forms, **described}


def _forms(column: Column) -> Iterator[tuple[str, Json]]:
    """Datatypes with the JSON Schema of their values; whole numbers and truth values that may be missing may come as FP64."""
    yield column.datatype, _value(column, nullable=column.special)
    if column.special and _OF[column.datatype] in ("integer", "boolean"):
        low, high = (0, 1) if column.datatype == "BOOL" else (column.low, column.high)
        yield "FP64", {"type": ["integer", "null"], "minimum": low, "maximum": high}


def _data(element: Json, *, depth: int) -> Json:
    flat = nested = _list(element)
    for _ in range(depth):
        nested = _list(nested)
    return flat if nested is flat else {"anyOf": [flat, nested]}


def _value(column: Column, *, nullable: bool) -> Json:
    """One value of a field, or null where that is allowed."""
    kind = _OF[column.datatype]
    found: Json = {"type": [kind, "null"] if nullable else kind}
    if column.image:
        return {**found, "contentEncoding": "base64", "description": "a JPEG, PNG or WebP file"}
    if column.categories is not None:
        return {**found, "enum": [*sorted(column.categories), *(("", None) if nullable else ())]}
    if column.longest is not None:
        return {**found, "maxLength": column.longest}
    if kind == "integer":
        return {**found, "minimum": math.ceil(column.low), "maximum": math.floor(column.high)}
    if kind == "number":
        bounds = {"minimum": column.low, "maximum": column.high}
        return {**found, **{key: value for key, value in bounds.items() if abs(value) < _MOST}}
    return found


def _changes(schema: Schema) -> Json:
    """The path by which items are put in and deleted."""
    columns = schema.put.values()
    item = _object(
        {column.name: _cell(column) for column in columns}, [c.name for c in columns if not c.field.optional]
    )
    name = {"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer"}]}
    body = {**_object({"put": _list(item, 0, 1000), "delete": _list(name, 0, 1000)}, []), "additionalProperties": False}
    told = {_JSON: {"schema": _object({"position": {"type": "integer"}})}}
    said = (
        "Answered once the changes are on the disk and searches see them. From within the domain alone, where it declares `fresh`;"
        " 403 through the gateway."
    )
    asks = {_JSON: {"schema": body}}
    return {
        f"/v2/models/{schema.name}/items": {
            "post": _operation("items", "Put items in, or delete them", told, asks=asks, description=said)
        }
    }


def _predict(schema: Schema) -> Json:
    """The body of a V1 request: records, or lists of values by field."""
    records = {column.name: _cell(column) for column in schema.columns.values()}
    required = [column.name for column in schema.columns.values() if not column.field.optional]
    table = {name: _list(of, 1, schema.row_limit) for name, of in records.items()}
    for name in table.keys() - set(required):
        table[name]["type"] = ["array", "null"]
    closed = {"additionalProperties": False}
    instances = _list({**_object(records, required), **closed}, 1, schema.row_limit)
    inputs = {**_object(table, required), **closed, "description": "Lists of the same length."}
    nothing = {"type": "null"}
    return {
        "anyOf": [
            _object({"instances": instances, "inputs": nothing}, ["instances"]),
            _object({"inputs": inputs, "instances": nothing}, ["inputs"]),
        ]
    }


def _cell(column: Column) -> Json:
    """A record's value of one field."""
    field = column.field
    found = _value(column, nullable=field.optional and not field.varies)
    if field.varies and column.datatype == "BYTES":
        found["minLength"] = 1  # an empty one is a missing one, of which there is none within a field that varies
    if column.image:
        found = {"anyOf": [found, _object({"b64": _value(column, nullable=False)})]}
    for side in reversed(field.shape):
        least, most = (side, side) if side is not None else (0 if field.optional else 1, field.at_most)
        found = _list(found, least, most)
    if field.optional and field.shape:
        found["type"] = ["array", "null"]
    return {**found, "description": field.description} if field.description else found


def _record(example: Json) -> Json:
    """The first row of a V2 request, as V1 has it."""
    found = {}
    for tensor in example["inputs"]:
        found[tensor["name"]] = objects(tensor["data"]).reshape(tensor["shape"]).tolist()[0]
    return found


def _inferred(schema: Schema) -> Json:
    """The body of a V2 answer in JSON."""
    outputs = [
        _object(
            {
                "name": {"const": output.name},
                "datatype": {"const": output.datatype},
                "shape": _list({"type": "integer"}, 1 + len(output.shape), 1 + len(output.shape)),
                "data": _list(_answered(output)),
                "parameters": _parameters({}),
            },
            ["name", "datatype", "shape"],
        )
        for output in schema.outputs.values()
    ]
    named = {"model_name": {"const": schema.name}, "model_version": {"const": schema.version}}
    return _object({**named, "id": {"type": "string"}, "outputs": _list({"anyOf": outputs}, 1, len(outputs))})


def _prediction(schema: Schema) -> Json:
    """A row of a V1 answer: the value where the model has one output, else an object of them."""
    found = {}
    for output in schema.outputs.values():
        value = _answered(output)
        for side in reversed(output.shape):
            value = _list(value, side, side)
        found[output.name] = value
    return _object(found) if len(found) > 1 else next(iter(found.values()))


def _answered(output: Output) -> Json:
    """One value of an output. Its bounds are a description, since the server allows for rounding."""
    ends = [f"{word} {end:g}" for word, end in (("from", output.minimum), ("to", output.maximum)) if end is not None]
    return {"type": _OF[output.datatype], **({"description": " ".join(ends)} if ends else {})}


def _parameters(known: Json) -> Json:
    return {"type": ["object", "null"], "properties": known, "additionalProperties": _PARAMETER}


def _once(name: str, least: int) -> Json:
    """A list holds the tensor of this name once, or at most once."""
    named = {"type": "object", "required": ["name"], "properties": {"name": {"const": name}}}
    return {"contains": named, "minContains": least, "maxContains": 1}


def _list(items: Mapping[str, Any], least: int = 0, most: int | None = None) -> Json:
    bounds = {"minItems": least} if least else {}
    return {"type": "array", "items": items, **bounds, **({} if most is None else {"maxItems": most})}


def _object(properties: Json, required: Sequence[str] | None = None) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/responses/{name}"}
