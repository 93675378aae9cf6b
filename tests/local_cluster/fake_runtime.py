"""A tiny V2 model server for tests: standard library only, ready in 50 ms, told what to do by files in its model folder.

fail       exit with code 3 and the file's text as the last line      slow      seconds before it is ready
status     answer every infer request with this status                delay     seconds each infer request takes
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections import deque
from pathlib import Path
from typing import Any

REVISION = os.environ.get("K_REVISION") or os.environ.get("HOSTNAME", "")
"""In Standard mode the pod's name, which begins with its Deployment's."""


def say(line: str) -> None:
    sys.stderr.write(line + "\n")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-name", default="m")
    parser.add_argument("--model-dir", type=Path, default=Path())
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--peer", default="")
    options, _ = parser.parse_known_args()  # the real one's flags too
    folder: Path = options.model_dir
    if (folder / "fail").is_file():
        say("loading")
        say((folder / "fail").read_text().strip())
        os._exit(3)
    state = {"ready": False, "active": 0}
    received: deque[dict[str, str]] = deque(maxlen=2000)
    stop = asyncio.Event()

    def said(name: str, default: str = "") -> str:
        path = folder / name
        return path.read_text().strip() if path.is_file() else default

    async def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, object]]:
        if path.startswith("/v2/health/ready"):
            return (200 if state["ready"] else 503), {"ready": state["ready"]}
        if path.startswith("/v2/health"):
            return 200, {"live": True}
        if path == "/env":
            return 200, {"env": dict(os.environ), "argv": sys.argv}
        if path == "/headers":
            return 200, {"headers": headers}
        if path == "/received":
            return 200, {"received": list(received)}
        if path.startswith("/v2/models"):
            received.append({":path": path, **headers})
            await asyncio.sleep(float(said("delay", "0")))
            return int(said("status", "200")), {
                "model_name": options.model_name,
                "outputs": [],
                "revision": REVISION,
                "bytes": len(body),
            }
        return 404, {"error": f"no {path}"}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = head[0].split(" ", 2)
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                state["active"] += 1
                status, shown = await answer(method, path, headers, body)
                text = json.dumps(shown).encode()
                close = "connection: close\r\n" if stop.is_set() else ""
                writer.write(
                    f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{close}"
                    f"x-hallmark-revision: {REVISION}\r\ncontent-length: {len(text)}\r\n\r\n".encode()
                    + text
                )
                await writer.drain()
                state["active"] -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(serve, options.host, options.http_port)
    await asyncio.sleep(float(said("slow", "0")))
    state["ready"] = True
    say("ready")
    await stop.wait()
    while state["active"]:
        await asyncio.sleep(0.01)
    server.close()
    say("stopped")
    os._exit(0)


def runtime(**changes: Any) -> dict[str, Any]:
    """A ClusterServingRuntime of the fake model server."""
    container = {
        "name": "kserve-container",
        "image": "fake:1",
        "command": ["python", "-S", str(Path(__file__))],
        "args": ["--model-name={{.Name}}", "--model-dir=/mnt/models", "--http-port=8080"],
        "ports": [{"containerPort": 8080, "name": "http1"}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": 8080}, "periodSeconds": 1},
        **changes.pop("container", {}),
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterServingRuntime",
        "metadata": {"name": "fake"},
        "spec": {
            "supportedModelFormats": [{"name": "onnx", "version": "1"}],
            "protocolVersions": ["v1", "v2", "grpc-v2"],
            "containers": [container, *changes.pop("sidecars", [])],
            **changes,
        },
    }


if __name__ == "__main__":
    asyncio.run(main())
