"""Debian's chromium without a screen, driven by its DevTools protocol over a WebSocket; what axe finds on a page in it."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import websocket

_PATIENCE = 60.0
needs_chromium = pytest.mark.skipif(
    not shutil.which("chromium"), reason="chromium is not installed (apt-get install chromium)"
)


class Tab:
    """One page of the browser."""

    def __init__(self, address: str) -> None:
        self._link = websocket.create_connection(address, timeout=_PATIENCE, suppress_origin=True)
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []
        """What the page said at its console: errors, and what its policy refused."""
        for part in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{part}.enable")

    def ask(self, method: str, **given: Any) -> dict[str, Any]:
        """The answer to one command."""
        number = next(self._numbers)
        self._link.send(json.dumps({"id": number, "method": method, "params": given}))
        while True:
            told = json.loads(self._link.recv())
            if told.get("method") == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                entry = told["params"]["entry"]
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
            if told.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["params"]["exceptionDetails"])[:500])
            if told.get("id") == number:
                assert "error" not in told, told
                return dict(told["result"])

    def close(self) -> None:
        """Let go of it."""
        self._link.close()

    def value(self, script: str) -> Any:
        """What an expression is, a promise too."""
        told = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def open(self, address: str) -> None:
        """Go there, and wait until it is shown."""
        self.ask("Page.navigate", url=address)
        self.until(f"location.href === {json.dumps(address)} && document.readyState === 'complete'")

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + _PATIENCE
        while not self.value(script):
            assert time.monotonic() < end, f"never true: {script}; {self.complaints}"
            time.sleep(0.05)

    def look(self, *, width: int, dark: bool) -> None:
        """Have it so wide, and in these colours."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, key: str, code: int) -> None:
        """Press one key."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code={" ": "Space"}.get(key, key),
                windowsVirtualKeyCode=code,
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def picture(self, path: Path) -> None:
        """Write what is shown, the whole page, as PNG."""
        told = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))

    def axe(self) -> list[str]:
        """What breaks WCAG 2.1 AA here, a line a finding."""
        spec = importlib.util.find_spec("axe_core_python")
        assert spec is not None and spec.origin is not None, "`make install` brings axe-core-python"
        self.value(Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8") + ";0")
        rules = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']}"
        found = json.loads(self.value(f"axe.run(document, {rules}).then(found => JSON.stringify(found))"))
        assert found["passes"], "axe looked at nothing"
        return [
            f"{each['id']}: {node['html'][:200]} {node['failureSummary']}"
            for each in found["violations"]
            for node in each["nodes"]
        ]


@contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    """A browser with a profile of its own below `folder`, and a page in it."""
    process = subprocess.Popen(
        [
            "chromium",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder / 'profile'}",
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = _port(folder / "profile" / "DevToolsActivePort", process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=_PATIENCE) as answer:
            pages = [each for each in json.load(answer) if each["type"] == "page"]
        with contextlib.closing(Tab(pages[0]["webSocketDebuggerUrl"])) as tab:
            yield tab
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + _PATIENCE
    while True:
        assert process.poll() is None, f"chromium ended with {process.returncode}"
        assert time.monotonic() < end, "chromium did not start"
        if file.is_file() and (lines := file.read_text(encoding="ascii").split()):
            return int(lines[0])
        time.sleep(0.05)
