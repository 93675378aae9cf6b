"""Requests and answers of a decision in the Open Inference Protocol: one item a request, whose tensors go on to nodes as they came."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from hallmark.decision import engine
from hallmark.decision.engine import Answer, Given, Verdict
from hallmark.decision.record import DecisionRecord
from hallmark.declaration.condition import Kind
from hallmark.declaration.decision import Decision, Node
from inference_services.protocol import plain, v2
from inference_services.protocol.column import UNREADABLE, explain
from inference_services.protocol.errors import BadRequest

Body = list[bytes | memoryview]
_encode = msgspec.json.Encoder().encode
DATATYPES = {
    **dict.fromkeys(("action", "reason", "person", "case", "path", "evidence", "digests", "record"), "BYTES"),
    **dict.fromkeys(("spent", "score", "threshold", "chance", "expected_cost", "saved"), "FP64"),
    "audit": "BOOL",
}
OUTPUTS = tuple(DATATYPES)
"""Outputs of an answer. Numbers that nobody knows, such as the threshold of a slice that has none, are left out."""

_SAMPLED = 4096
"""Bytes of a tensor that tell it from another."""


@dataclass(frozen=True)
class ItemRequest:
    """One item to decide on.

    tensors: by name, with the bytes behind the JSON that each has.   wanted: outputs asked for; empty for all.
    """

    id: str
    item: dict[str, Any]
    tensors: v2.Tensors
    wanted: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Of the id and what it came with: the same request once more has the same, and another item under that id another one.

        Of a tensor of more than 4 KiB, such as photos, its length and each n-th byte stand for all: reading all would take longer than many a model.
        """
        found = hashlib.sha256(self.id.encode())
        for name, (tensor, blob) in sorted(self.tensors.items()):
            data = memoryview(tensor.data if blob is None else blob)
            found.update(msgspec.json.encode((name, tensor.datatype, tensor.shape, len(data))))
            found.update(data[:: 1 + len(data) // _SAMPLED].tobytes())
        return found.hexdigest()


class NodeAnswer(msgspec.Struct):
    """What a node's answer has to hold."""

    outputs: list[v2.Tensor]
    model_version: str = ""


_node_answer = msgspec.json.Decoder(NodeAnswer)


def read(decision: Decision, body: bytes, json_length: int | None) -> ItemRequest:
    """The request, or `BadRequest`, which names the input."""
    envelope, tensors = v2.named(body, json_length)
    known = {*decision.item, *(name for node in decision.nodes.values() for name in node.reads if "." not in name)}
    for name in tensors:
        if name not in known:
            raise BadRequest(f"input {name!r}: no node and no condition reads it; expected {', '.join(sorted(known))}")
    wanted = tuple(each.name for each in envelope.outputs or ())
    if unknown := [name for name in wanted if name not in OUTPUTS]:
        raise BadRequest(f"outputs: there is no {unknown[0]!r}; expected {', '.join(OUTPUTS)}")
    return ItemRequest(v2.request_id(envelope.id), facts(decision, tensors), tensors, wanted)


def facts(decision: Decision, tensors: v2.Tensors) -> dict[str, Any]:
    """Fields of the item that a decision reads, or `BadRequest`, which names the input."""
    item = {name: _of_item(name, kind, tensors) for name, kind in decision.item.items()}
    if not item[decision.costs.price] > 0:
        raise BadRequest(f"input {decision.costs.price!r}: expected a price above 0")
    return item


def _of_item(name: str, kind: Kind, tensors: v2.Tensors) -> Any:
    if name not in tensors:
        raise BadRequest(f"input {name!r}: missing; conditions, slices or costs read it")
    tensor, blob = tensors[name]
    try:
        (value,) = plain.values(tensor, blob)
    except ValueError as error:
        raise BadRequest(f"input {name!r}: expected one {kind}: {error}") from None
    if problem := engine.problem(value, kind):
        raise BadRequest(f"input {name!r}: {problem}")
    if isinstance(value, str) and len(value) > v2.ID_LIMIT:
        raise BadRequest(f"input {name!r}: expected at most {v2.ID_LIMIT} characters")
    return float(value) if kind == "number" else value


def question(
    request: ItemRequest, node: Node, answers: Mapping[str, Answer], decision: Decision
) -> tuple[Body, int | None]:
    """The body that a node is asked with, and the length of its JSON part where bytes follow."""
    inputs, blobs = [], []
    for name in node.reads:
        owner, dot, output = name.partition(".")
        if dot:
            value = answers[owner].outputs[output]
            kind = decision.nodes[owner].outputs[output]
            data = list(value) if isinstance(value, tuple) else [value]
            inputs.append(plain.tensor(name, kind, data))
            continue
        if name not in request.tensors:
            raise BadRequest(f"input {name!r}: missing; {node.service} reads it")
        tensor, blob = request.tensors[name]
        inputs.append(_encode(tensor if blob is None else _bare(tensor)))
        if blob is not None:
            blobs.append(blob)
    text = b'{"id":%b,"inputs":[%b],"outputs":[%b]}' % (
        _encode(request.id),
        b",".join(inputs),
        b",".join(b'{"name":%b}' % _encode(name) for name in node.outputs),
    )
    return [text, *blobs], len(text) if blobs else None


class _Bare(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, v2.Parameter] | None


def _bare(tensor: v2.Tensor) -> _Bare:
    return _Bare(tensor.name, tensor.shape, tensor.datatype, tensor.parameters)


def answered(node: Node, body: bytes) -> tuple[dict[str, Any], str]:
    """The outputs of a node's answer that the graph reads, each of its kind, and the version that it names; ValueError where one is not there."""
    try:
        found = _node_answer.decode(body)
    except UNREADABLE as error:
        raise ValueError(explain(error)) from None
    tensors = {tensor.name: tensor for tensor in found.outputs}
    outputs: dict[str, Any] = {}
    for name, kind in node.outputs.items():
        if name not in tensors or not memoryview(tensors[name].data):
            raise ValueError(f"it has no {name} in JSON")
        values = plain.values(tensors[name])
        if kind == "texts":
            outputs[name] = tuple(values)
        elif len(values) != 1:
            raise ValueError(f"{name} has {len(values)} values, and one is read")
        else:
            outputs[name] = float(values[0]) if kind == "number" and type(values[0]) is int else values[0]
        if problem := engine.problem(outputs[name], kind):
            raise ValueError(f"{name}: {problem}")
    return outputs, found.model_version


def answer(name: str, request: ItemRequest, record: DecisionRecord, case: str) -> bytes:
    """The body of the answer."""
    verdict, given = record.verdict, record.given
    parts: dict[str, bytes] = {
        "action": plain.tensor("action", "text", [verdict.action]),
        "reason": plain.tensor("reason", "text", [verdict.reason]),
        "person": plain.tensor("person", "text", [verdict.person or ""]),
        "case": plain.tensor("case", "text", [case]),
        "path": plain.tensor("path", "texts", verdict.path),
        "evidence": plain.tensor("evidence", "text", [_encode(evidence(given)).decode()]),
        "digests": plain.tensor("digests", "text", [_encode(digests(record)).decode()]),
        "record": plain.tensor("record", "text", [record.digest]),
        "audit": plain.tensor("audit", "truth", [verdict.audit]),
    }
    for output, value in numbers(verdict).items():
        if value is not None:
            parts[output] = plain.tensor(output, "number", [value])
    chosen = [parts[each] for each in request.wanted or OUTPUTS if each in parts]
    return b'{"model_name":%b,"model_version":%b,"id":%b,"outputs":[%b]}' % (
        _encode(name),
        _encode(record.unit.removeprefix("sha256:")[:12]),
        _encode(request.id),
        b",".join(chosen),
    )


def numbers(verdict: Verdict) -> dict[str, float | None]:
    """The numbers of a verdict, by output."""
    return {
        "spent": verdict.spent,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "chance": verdict.chance,
        "expected_cost": verdict.expected,
        "saved": verdict.saved,
    }


def evidence(given: Given) -> dict[str, Any]:
    """What came of each node: its fate, its outputs and its version."""
    return {
        name: {"fate": each.fate, "outputs": each.outputs, "version": each.version, "seconds": round(each.seconds, 4)}
        for name, each in given.answers.items()
    }


def digests(record: DecisionRecord) -> dict[str, Any]:
    """The unit's digest and its parts."""
    parts = {name: {"version": part.version, "digest": part.digest} for name, part in record.parts.items()}
    return {"unit": record.unit, "engine": record.engine, "parts": parts}
