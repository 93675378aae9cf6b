"""Where a node of a decision does not fit the model that it asks: what it reads, and what it makes of the answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from hallmark.artifacts.signature import Signature
from hallmark.declaration.condition import Kind
from hallmark.declaration.decision import Node
from hallmark.features.fields import Output

_KINDS: Mapping[str, Kind] = {"BOOL": "truth", "BYTES": "text"}


class Misfit(NamedTuple):
    """A name in `reads` or `outputs` of a node.

    fault: lacking: the model demands it, and the node does not read it; unknown: the model has no such thing; kind: it answers another one.
    expected: what the model has under that key, or of a kind, how the output would be written.
    """

    key: Literal["reads", "outputs"]
    name: str
    fault: Literal["lacking", "unknown", "kind"]
    expected: tuple[str, ...]


def misfits(node: Node, signature: Signature, *, added: Iterable[Output] | None = ()) -> Iterator[Misfit]:
    """Names by which the model would refuse each request of the node, or its answer would be none.

    added: outputs that serving.py gives beside the model's; None where they are not known, and then no output is judged.
    """
    takes = {each.name: each for each in signature.sent}
    for name, field in takes.items():
        if not field.optional and name not in node.reads:
            yield Misfit("reads", name, "lacking", tuple(takes))
    for name in node.reads:
        if name not in takes:
            yield Misfit("reads", name, "unknown", tuple(takes))
    if added is None:
        return
    answers = {each.name: each for each in (*signature.answered, *added)}
    for name, kind in node.outputs.items():
        if name not in answers:
            yield Misfit("outputs", name, "unknown", tuple(answers))
        elif kind not in (known := _kinds(answers[name])):
            written = tuple(f"{name}: {each}" for each in known)
            yield Misfit("outputs", name, "kind", written or ("another output: this one has several values",))


def _kinds(output: Output) -> tuple[Kind, ...]:
    """What an output can be read as: one value by its type, texts as a list too."""
    kind = _KINDS.get(output.datatype, "number")
    one: tuple[Kind, ...] = (kind,) if math.prod(output.shape) == 1 else ()
    return (*one, "texts") if kind == "text" else one
