"""A stand-in of a language model's server: it speaks OpenAI's chat completions, answers as the schema asks, and fails as it is told.

`python -m local_cluster.chat_standin --port 8000` answers well; `--fault not-json` fails in that way, and `--fault list`
names them all. It looks at no picture: it shows that what is around a model holds, and nothing of a model.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

Json = dict[str, Any]
Reply = bytes | None
"""Bytes that are sent and the connection closed, or None: nothing ever comes."""
_NAME = re.compile(r"\bE-[0-9a-f]+-\d+\b")
_JSON = "application/json"


def http(status: int, body: bytes | str, media: str = _JSON, *, more: str = "") -> bytes:
    """A whole answer, after which the connection is closed."""
    data = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {media}\r\ncontent-length: {len(data)}\r\n"
    return f"{head}{more}connection: close\r\n\r\n".encode() + data


def shown(asked: Json) -> list[str]:
    """Names of the references that the last message shows."""
    last = asked["messages"][-1]["content"]
    texts = [last] if isinstance(last, str) else [part["text"] for part in last if part["type"] == "text"]
    return [name for text in texts for name in _NAME.findall(text)]


def good(asked: Json) -> Json:
    """An answer that keeps the schema: first words, no orders, and every reference."""
    found: Json = {}
    for name, each in asked["response_format"]["json_schema"]["schema"]["properties"].items():
        if each["type"] == "array":
            found[name] = shown(asked)[: each["maxItems"]]
        elif each["type"] == "boolean":
            found[name] = False
        elif each["type"] == "string":
            found[name] = each["enum"][0] if "enum" in each else "as on the references"
        else:
            found[name] = each["minimum"]
    return found


def completion(asked: Json, content: Any, *, finish: str = "stop", model: str = "", **more: Any) -> Json:
    """A chat completion with this content."""
    message = {"role": "assistant", "content": content, **more}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model or asked["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def said(asked: Json, content: Any, **more: Any) -> bytes:
    """The answer with this content."""
    return http(200, json.dumps(completion(asked, content, **more)))


def changed(**keys: Any) -> Callable[[Json], bytes]:
    """The good answer with these keys; None takes one away."""

    def reply(asked: Json) -> bytes:
        found = {**good(asked), **keys}
        return said(asked, json.dumps({key: value for key, value in found.items() if value != "(away)"}))

    return reply


def _error(status: int, text: str, more: str = "") -> Callable[[Json], bytes]:
    return lambda _: http(status, json.dumps({"error": {"message": text, "type": "invalid_request_error"}}), more=more)


def _text(content: Any, **more: Any) -> Callable[[Json], bytes]:
    return lambda asked: said(asked, content, **more)


def _whole(change: Callable[[Json], Any]) -> Callable[[Json], bytes]:
    """The good completion, changed."""
    return lambda asked: http(200, json.dumps(change(completion(asked, json.dumps(good(asked))))))


def _from_an_example(asked: Json) -> bytes:
    names = [
        name for each in asked["messages"] if each["role"] == "assistant" for name in _NAME.findall(each["content"])
    ]
    return changed(cites=names[:1] or ["E-0-1"])(asked)


def _texts(asked: Json) -> str:
    return json.dumps(good(asked))


FAULTS: Mapping[str, tuple[str, Callable[[Json], Reply]]] = {
    "hangs-up": ("down", lambda _: b""),
    "half-a-reply": ("down", lambda _: b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{"),
    "slow": ("late", lambda _: None),
    "half-a-reply-and-silence": ("late", lambda asked: http(200, _texts(asked) + " " * 99)[:-9] + b"\0wait"),
    "429": ("busy", _error(429, "rate limit")),
    "429-for-long": ("busy", _error(429, "rate limit", "retry-after: 600\r\n")),
    "503": ("busy", _error(503, "loading")),
    "500": ("failing", _error(500, "CUDA out of memory")),
    "502-in-html": ("failing", lambda _: http(502, "<h1>Bad Gateway</h1>", "text/html")),
    "redirect": ("failing", lambda _: http(302, "", more="location: http://elsewhere.example/\r\n")),
    "no-content": ("failing", lambda _: http(204, "")),
    "400-too-long": ("refused_request", _error(400, "maximum context length is 8192 tokens")),
    "401": ("refused_request", _error(401, "no such key")),
    "404-no-model": ("refused_request", _error(404, "the model does not exist")),
    "not-http": ("not_http", lambda _: b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    "endless": ("not_http", lambda asked: http(200, json.dumps(completion(asked, "x" * 2**21)))),
    "html": ("media", lambda asked: http(200, _texts(asked), "text/html")),
    "event-stream": ("media", lambda asked: http(200, f"data: {_texts(asked)}\n\n", "text/event-stream")),
    "envelope-not-json": ("envelope", lambda _: http(200, "authentic")),
    "envelope-a-list": ("envelope", lambda _: http(200, "[]")),
    "error-with-200": ("envelope", lambda _: http(200, '{"error": {"message": "overloaded"}}')),
    "no-choice": ("envelope", _whole(lambda each: {**each, "choices": []})),
    "two-choices": ("envelope", _whole(lambda each: {**each, "choices": each["choices"] * 2})),
    "role-of-a-user": ("envelope", lambda asked: said(asked, _texts(asked), role="user")),
    "content-in-parts": ("envelope", lambda asked: said(asked, [{"type": "text", "text": _texts(asked)}])),
    "unknown-finish": ("envelope", lambda asked: said(asked, _texts(asked), finish="paused")),
    "other-model": ("other_model", lambda asked: said(asked, _texts(asked), model="gpt-x")),
    "cut": ("cut", lambda asked: said(asked, _texts(asked), finish="length")),
    "filtered": ("filtered", lambda asked: said(asked, _texts(asked), finish="content_filter")),
    "tools": ("tools", lambda asked: said(asked, None, finish="tool_calls", tool_calls=[{"id": "1", "type": "function"}])),
    "refusal": ("refusal", lambda asked: said(asked, None, refusal="I cannot help with that.")),
    "nothing": ("empty", _text(None)),
    "spaces": ("empty", _text(" \n")),
    "not-json": ("not_json", _text("I think that this bag is authentic.")),
    "refusal-in-words": ("not_json", _text("I'm sorry, I can't judge whether goods are counterfeit.")),
    "fenced": ("not_json", lambda asked: said(asked, f"```json\n{_texts(asked)}\n```")),
    "words-after": ("not_json", lambda asked: said(asked, f"{_texts(asked)} I hope this helps!")),
    "half-of-it": ("not_json", lambda asked: said(asked, _texts(asked)[:-20])),
    "verdict-twice": ("not_json", lambda asked: said(asked, '{"verdict": "counterfeit", ' + _texts(asked)[1:])),
    "nan": ("not_json", lambda asked: said(asked, _texts(asked).replace("false", "NaN"))),
    "too-deep": ("not_json", _text("[" * 9000)),
    "extra-keys": ("schema", changed(approved_by="head office")),
    "missing-key": ("schema", changed(reason="(away)")),
    "unknown-word": ("schema", changed(verdict="AUTHENTIC")),
    "null": ("schema", changed(verdict=None)),
    "text-for-a-truth": ("schema", changed(orders="false")),
    "long-reason": ("schema", changed(reason="x" * 5000)),
    "list": ("schema", lambda asked: said(asked, json.dumps([good(asked)]))),
    "uncited": ("uncited", changed(cites=[])),
    "foreign-id": ("foreign", changed(cites=["E-77-1"])),
    "id-of-the-catalogue": ("foreign", changed(cites=["ref-1"])),
    "one-of-two-foreign": ("foreign", lambda asked: changed(cites=[*shown(asked)[:1], "ref-9"])(asked)),
    "id-of-an-example": ("foreign", _from_an_example),
    "orders-in-the-photo-told": ("orders", changed(orders=True)),
    "orders-obeyed-in-a-word": ("not_json", _text("authentic")),
    "orders-obeyed-in-json": ("schema", _text('{"verdict": "authentic"}')),
    "orders-obeyed-whole": ("foreign", _text('{"verdict": "authentic", "reason": "as the note says", "cites": ["E-1"], "orders": false}')),
}  # fmt: skip
"""Ways to fail, each with the cause that `hallmark.prompts.chat` has to find in it."""


class ChatStandIn:
    """Answers on one port. `fault` may be changed while it serves; `faulty`: so many answers of it, then good ones; -1 for all."""

    def __init__(self, *, answer: Mapping[str, Any] | None = None) -> None:
        self.fault = ""
        self.faulty = -1
        self.asked: list[Json] = []
        self._answer = dict(answer or {})
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; the port."""
        self._server = await asyncio.start_server(self._serve, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    def reply(self, asked: Json) -> Reply:
        """What is sent."""
        self.asked.append(asked)
        if self.fault and self.faulty:
            self.faulty -= self.faulty > 0
            return FAULTS[self.fault][1](asked)
        return changed(**self._answer)(asked)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, path, _ = head.split(" ", 2)
            length = re.search(r"(?im)^content-length:\s*(\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            if path == "/health" or (method, path) != ("POST", "/v1/chat/completions"):
                writer.write(http(200 if path == "/health" else 404, "{}"))
            else:
                found = self.reply(json.loads(body))
                if found is not None:
                    writer.write(found.removesuffix(b"\0wait"))
                if found is None or found.endswith(b"\0wait"):
                    await reader.read()  # until whoever asked has gone
            await writer.drain()
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until it is interrupted."""
    flags = argparse.ArgumentParser(prog="python -m local_cluster.chat_standin", description=__doc__.split("\n", 1)[0])
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=8000)
    flags.add_argument("--fault", default="", help="fail in this way; `list` names them")
    given = flags.parse_args(arguments)
    if given.fault == "list":
        sys.stdout.writelines(f"{name}: {cause}\n" for name, (cause, _) in FAULTS.items())
        return 0
    if given.fault and given.fault not in FAULTS:
        flags.error(f"--fault {given.fault}: there is no such; --fault list names them")

    async def serve() -> None:
        server = ChatStandIn()
        server.fault = given.fault
        sys.stderr.write(f"http://{given.host}:{await server.start(given.host, given.port)}\n")
        await asyncio.Event().wait()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
