#!/usr/bin/env bash
# A POST that offers HTTP/2 in its headers (Connection: Upgrade, Upgrade: h2c), as Java 17's HttpClient does by default and
# `curl --http2 -d` when the address is http://, reaches an application behind uvicorn with httptools without its body: the application is
# told that the request is complete with 0 bytes, and answers 200. The server's log says "Unsupported upgrade request", and nothing of a body.
# A server may ignore an offer of an upgrade, and the request then counts as it stands; with h11, uvicorn's other parser, the body arrives.
# Versions: uvicorn 0.54.0, httptools 0.9.0 (which uvicorn takes wherever it is installed), h11 0.16.0.
# Why it matters: an inference request from such a client is an empty one for a model server behind uvicorn. Switch the client to
# HTTP/1.1 (Java: version(HTTP_1_1)), or the server to http="h11".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0
cat > "$folder/served.py" <<'PY'
import asyncio
import socket
import threading
import time

import httptools
import uvicorn


async def counts(scope, receive, send):
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    text = b"%d bytes" % size
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"


def asked(port: int, headers: bytes) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n" + headers + b"Content-Length: 5\r\n\r\nhello")
        found = b""
        while b" bytes" not in found and (more := connection.recv(1000)):
            found += more
    return found.split(b" ")[1].decode() + ", " + found.rpartition(b"\r\n")[2].decode()


def served(parser: str) -> tuple[str, str]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(counts, http=parser, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        return asked(listening.getsockname()[1], b""), asked(listening.getsockname()[1], OFFER)
    finally:
        server.should_exit = True
        thread.join()


print("uvicorn", uvicorn.__version__, "httptools", httptools.__version__)
for parser, expected in (("h11", ("200, 5 bytes", "200, 5 bytes")), ("httptools", ("200, 5 bytes", "200, 0 bytes"))):
    found = served(parser)
    print(f"{parser:<10} plain: {found[0]}   with the offer of HTTP/2: {found[1]}")
    assert found == expected, "the finding has changed"
PY
"$folder/venv/bin/python" "$folder/served.py"
