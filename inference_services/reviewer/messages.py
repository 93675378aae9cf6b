"""Requests and answers of the reviewer in the Open Inference Protocol: one item a request; each property of the answer is an output."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from hallmark.errors import HallmarkError
from hallmark.features import image
from hallmark.prompts.answer import Value
from hallmark.prompts.prompt import PICTURES, Given, Picture, Prompt, ShownReference, Variable, wrong
from inference_services.crops import Crops
from inference_services.protocol import plain, v2
from inference_services.protocol.errors import BadRequest, NoReview

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class ReviewRequest:
    """One item to review. given: values of the prompt's variables.   wanted: outputs asked for; empty for all."""

    id: str
    given: Mapping[str, Given]
    wanted: tuple[str, ...]


def read(prompt: Prompt, crops: Crops, body: bytes, json_length: int | None) -> ReviewRequest:
    """The request; `BadRequest` names the input, `NoReview` where no reference can be shown."""
    envelope, tensors = v2.named(body, json_length)
    inputs = {prompt.input_of(name): name for name in prompt.variables}
    for name in tensors:
        if name not in inputs:
            raise BadRequest(f"input {name!r}: the prompt has no use for it; expected {', '.join(sorted(inputs))}")
    wanted = tuple(each.name for each in envelope.outputs or ())
    if unknown := [name for name in wanted if name not in prompt.outputs]:
        raise BadRequest(f"outputs: there is no {unknown[0]!r}; expected {', '.join(prompt.outputs)}")
    given: dict[str, Given] = {}
    for name, variable in prompt.variables.items():
        place = prompt.input_of(name)
        if place not in tensors:
            raise BadRequest(f"input {place!r}: missing; the prompt is filled from it")
        try:
            given[name] = _value(variable, *tensors[place], crops)
        except (ValueError, HallmarkError) as error:
            raise BadRequest(f"input {place!r}: {str(error).splitlines()[0]}") from None
        if variable.kind == "references" and not given[name]:
            raise NoReview(
                f"input {place!r}: none of these references can be shown, so that no answer could rest on one"
            )
        if problem := wrong(variable.kind, given[name]):
            raise BadRequest(f"input {place!r}: expected {problem}")
    return ReviewRequest(v2.request_id(envelope.id), given, wanted)


def _value(variable: Variable, tensor: v2.Tensor, blob: memoryview | None, crops: Crops) -> Given:
    if variable.kind == "images":
        photos = plain.files(tensor, blob)[: variable.at_most]
        for each in photos:
            image.header(each, limits=PICTURES)
        return tuple(Picture(data=base64.b64encode(each).decode()) for each in photos)
    values = plain.values(tensor, blob)
    if variable.kind == "references":
        shown: list[ShownReference] = []
        for name in dict.fromkeys(map(str, values)):
            if len(shown) < variable.at_most and (crop := crops.get(name)) is not None:
                shown.append(ShownReference(id=name, data=base64.b64encode(crop).decode()))
        return tuple(shown)
    if len(values) != 1:
        raise ValueError(f"expected one {variable.kind}")
    value: Any = values[0]
    return value  # type: ignore[no-any-return]


def answer(name: str, version: str, prompt: Prompt, request: ReviewRequest, found: Mapping[str, Value]) -> bytes:
    """The body of the answer."""
    tensors = []
    for output in request.wanted or prompt.outputs:
        value, kind = found[output], prompt.outputs[output].kind
        tensors.append(plain.tensor(output, kind, list(value) if isinstance(value, tuple) else [value]))
    return b'{"model_name":%b,"model_version":%b,"id":%b,"outputs":[%b]}' % (
        _encode(name),
        _encode(version),
        _encode(request.id),
        b",".join(tensors),
    )
