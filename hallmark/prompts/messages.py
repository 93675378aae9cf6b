"""The messages of one request: texts of strangers stay in quotes, pictures follow their text, and references go by names made for this request.

A name such as E-5f0c91-2 is drawn anew for every request. So what is printed on a photo, or was learnt from an older request, cannot
name a reference that was shown; an answer that cites it is told from one that looked.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hallmark.features import image
from hallmark.prompts.prompt import PLACE, Example, Given, Message, Picture, Prompt, ShownReference

_MEDIA = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
Part = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """Messages in the form of OpenAI's chat completions.

    shown: references by the names that they go by in this request.
    """

    messages: list[dict[str, Any]]
    shown: Mapping[str, str]


def render(
    prompt: Prompt,
    given: Mapping[str, Given],
    *,
    examples: Sequence[Example] = (),
    salt: Callable[[], str] = lambda: secrets.token_hex(3),
) -> Rendered:
    """The messages with these values, which are of their kinds; the examples come before the first message of role user."""
    first = next(at for at, each in enumerate(prompt.messages) if each.role == "user")
    found = [_message(each, prompt, given, {}) for each in prompt.messages[:first]]
    for example in examples:
        names = _names(prompt, example.given, salt())
        found += [_message(each, prompt, example.given, names) for each in prompt.messages[first:]]
        found.append({"role": "assistant", "content": _answer(prompt, example.answer, names)})
    names = _names(prompt, given, salt())
    found += [_message(each, prompt, given, names) for each in prompt.messages[first:]]
    return Rendered(found, {name: reference for reference, name in names.items()})


def _names(prompt: Prompt, given: Mapping[str, Given], salt: str) -> dict[str, str]:
    """The name of each reference, by its id."""
    shown = [each.id for name in prompt.of_kind("references") for each in _some(prompt, name, given)]  # type: ignore[attr-defined]
    return {each: f"E-{salt}-{at}" for at, each in enumerate(dict.fromkeys(shown), 1)}


def _some(prompt: Prompt, name: str, given: Mapping[str, Given]) -> Sequence[Picture]:
    value = given[name]
    return value[: prompt.variables[name].at_most] if isinstance(value, tuple) else ()


def _message(message: Message, prompt: Prompt, given: Mapping[str, Given], names: Mapping[str, str]) -> dict[str, Any]:
    text = PLACE.sub(lambda found: json.dumps(given[found[1]], ensure_ascii=False), message.text)
    if not message.attach:
        return {"role": message.role, "content": text}
    parts: list[Part] = [{"type": "text", "text": text}]
    for name in message.attach:
        for at, each in enumerate(_some(prompt, name, given), 1):
            told = names[each.id] if isinstance(each, ShownReference) else f"{at}"
            parts.append({"type": "text", "text": f"{name} {told}:"})
            parts.append({"type": "image_url", "image_url": {"url": address(each.bytes)}})
    return {"role": message.role, "content": parts}


def _answer(prompt: Prompt, answer: Mapping[str, Any], names: Mapping[str, str]) -> str:
    cites = prompt.answer.cites
    told = {key: [names[each] for each in value] if key == cites else value for key, value in answer.items()}
    return json.dumps(told, ensure_ascii=False)


def address(photo: bytes) -> str:
    """A picture as an address that holds it; only its pixels, and nothing that its file says beside."""
    found = image.header(photo)
    return f"data:{_MEDIA[found.format]};base64,{base64.b64encode(found.pixels_only).decode()}"
