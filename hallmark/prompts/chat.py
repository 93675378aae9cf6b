"""A request to an OpenAI-compatible server of language models, and what its reply is worth: the answer, or the cause why there is none."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from hallmark.prompts.answer import Value, WrongAnswer
from hallmark.prompts.messages import Rendered
from hallmark.prompts.prompt import Prompt

PATH = "/v1/chat/completions"
Cause = Literal[
    "down", "late", "busy", "failing", "refused_request", "not_http", "media", "envelope", "other_model", "cut",
    "filtered", "tools", "refusal", "empty", "not_json", "schema", "uncited", "foreign", "orders",
]  # fmt: skip
"""Why a try gave no answer.

down, late, busy, failing: the server did not answer, not in time, or with 429 or 503, or another 5xx.   refused_request: 4xx.
not_http, media, envelope, other_model: what came is no chat completion, or not of the model that was asked.
cut, filtered, tools, refusal, empty: the model did not end its answer, or gave none.   not_json, schema: it is not what the schema says.
uncited, foreign: it rests on no reference, or on one that it was not shown.   orders: a picture or a text told the model what to answer.
"""
CAUSES: tuple[Cause, ...] = get_args(Cause)
OF_THE_SERVER: frozenset[Cause] = frozenset({"down", "late", "busy", "failing"})
"""Causes that are no fault of the item: whoever asks may hold the reviewer for ill."""
OF_NO_PROMPT: frozenset[Cause] = OF_THE_SERVER | {"not_http", "media", "envelope", "other_model"}
"""Causes that tell nothing of a prompt, since its model did not answer: whoever judges prompts asks again once the server is well."""
FINAL: frozenset[Cause] = frozenset({"refused_request", "orders"})
"""Causes after which another try would bring the same."""
_PAUSE = 0.1


class Outcome(NamedTuple):
    """What came of a try. answer: with references by their own ids; told also where the cause is orders, for whoever judges prompts."""

    answer: dict[str, Value] | None
    cause: Cause | None = None


def body(prompt: Prompt, rendered: Rendered, *, attempt: int = 0) -> bytes:
    """The request; each attempt has another seed, and its own part of the server's prefix cache."""
    asked: dict[str, Any] = {
        "model": prompt.model.name,
        "messages": rendered.messages,
        "temperature": prompt.sampling.temperature,
        "top_p": prompt.sampling.top_p,
        "max_tokens": prompt.sampling.max_tokens,
        "seed": prompt.sampling.seed + attempt,
        "stream": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": prompt.answer.schema_.json_schema},
        },
        "cache_salt": secrets.token_urlsafe(18),
    }
    return json.dumps(asked, ensure_ascii=False, separators=(",", ":")).encode()


def pause(attempt: int, *, status: int = 0, retry_after: str = "") -> float:
    """Seconds before the try after this one: what a server that is busy asks for, else a tenth, and twice as many each time."""
    asked = status in (429, 503) and retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 4
    return float(retry_after) if asked else _PAUSE * 2**attempt


def read(prompt: Prompt, shown: Mapping[str, str], status: int, media: str, reply: bytes) -> Outcome:
    """What a reply of the server is worth; shown: ids of references by the names that they went by."""
    if status in (429, 503):
        return Outcome(None, "busy")
    if status != 200:
        return Outcome(None, "failing" if status >= 500 or status < 400 else "refused_request")
    if media.partition(";")[0].strip().lower() != "application/json":
        return Outcome(None, "media")
    text = _text(prompt, reply)
    if isinstance(text, Outcome):
        return text
    try:
        answer = prompt.answer.schema_.read(text)
    except WrongAnswer as error:
        return Outcome(None, error.cause)
    return _grounded(prompt, shown, answer)


def _text(prompt: Prompt, reply: bytes) -> str | Outcome:
    """What the model wrote, or why that is none."""
    try:
        found = json.loads(reply)
        (choice,) = found["choices"]
        message, reason = choice["message"], choice["finish_reason"]
        role, text, model = message["role"], message.get("content"), found["model"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Outcome(None, "envelope")
    if role != "assistant":
        return Outcome(None, "envelope")
    if model != prompt.model.name:
        return Outcome(None, "other_model")
    if message.get("tool_calls") or message.get("function_call") or reason in ("tool_calls", "function_call"):
        return Outcome(None, "tools")
    if message.get("refusal"):
        return Outcome(None, "refusal")
    if reason != "stop":
        causes: dict[object, Cause] = {"length": "cut", "content_filter": "filtered"}
        return Outcome(None, causes.get(reason if isinstance(reason, str) else None, "envelope"))
    if not isinstance(text, str):
        return Outcome(None, "empty" if text is None else "envelope")
    return text if text.strip() else Outcome(None, "empty")


def _grounded(prompt: Prompt, shown: Mapping[str, str], answer: dict[str, Value]) -> Outcome:
    form = prompt.answer
    if form.cites:
        cited = answer[form.cites]
        assert isinstance(cited, tuple)  # noqa: S101  as the schema says
        if not cited:
            return Outcome(None, "uncited")
        if any(each not in shown for each in cited):
            return Outcome(None, "foreign")
        answer[form.cites] = tuple(dict.fromkeys(shown[each] for each in cited))
    if form.orders and answer[form.orders]:
        return Outcome(answer, "orders")
    return Outcome(answer)
