"""A JSON API somewhere else, asked with patience of seconds and a token from a file."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hallmark.errors import Unavailable

if TYPE_CHECKING:
    import httpx

SECONDS = 5.0
_MOST_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class RemoteAnswer:
    """An HTTP status below 500 and the JSON that came with it."""

    status: int
    body: Any


class Remote:
    """An API at `client`'s base URL; `what` names it in errors.

    token: file with a bearer token, read for each call, because Kubernetes renews it in place.
    """

    def __init__(self, client: httpx.Client, *, what: str, token: Path | None = None, seconds: float = SECONDS) -> None:
        self.what = what
        self._client = client
        self._token = token
        self._seconds = seconds

    @classmethod
    def at(cls, url: str, *, what: str, token: Path | None = None, seconds: float = SECONDS) -> Remote:
        """The API at this address."""
        import httpx

        alone = httpx.Limits(max_keepalive_connections=0)  # asked now and then: no connection to keep, or to find dead
        return cls(httpx.Client(base_url=url.rstrip("/"), limits=alone), what=what, token=token, seconds=seconds)

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        body: Any = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
    ) -> RemoteAnswer:
        """One call; `files` are name, content and type of what a form carries. `Unavailable` where nothing comes in time, or what comes is a 5xx or no JSON."""
        import httpx

        until = time.monotonic() + self._seconds
        parts: dict[str, Any] = {"params": query, "data": form, "headers": self._headers(), "timeout": self._seconds}
        if body is not None:
            parts["json"] = body
        if files is not None:
            parts["files"] = files
        try:
            with self._client.stream(method, path, **parts) as response:
                text = self._read(response, until)
        except (httpx.TransportError, httpx.InvalidURL, httpx.DecodingError) as error:
            raise self.unavailable(f"{type(error).__name__}: {error}") from error
        if response.status_code >= 500:
            raise self.unavailable(f"{response.status_code}: {_start(text)}")
        try:
            return RemoteAnswer(response.status_code, json.loads(text))
        except (ValueError, RecursionError) as error:
            raise self.unavailable(f"{response.status_code} without JSON: {_start(text)}") from error

    def unavailable(self, got: str, *, fix: str = "") -> Unavailable:
        """Error to raise where the answer is not usable."""
        return Unavailable(
            f"{self.what} does not answer",
            expected=f"JSON from {shown(str(self._client.base_url))} within {self._seconds:g} s",
            got=got,
            fix=fix or "look whether it runs and is reachable from here; it is asked again",
        )

    def _read(self, response: httpx.Response, until: float) -> bytes:
        parts, size = [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > _MOST_BYTES:
                raise self.unavailable(f"more than {_MOST_BYTES >> 20} MiB")
            if time.monotonic() > until:
                raise self.unavailable(f"still sending after {self._seconds:g} s")
        return b"".join(parts)

    def _headers(self) -> dict[str, str]:
        if self._token is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token.read_text(encoding='ascii').strip()}"}
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(
                f"the token for {self.what} cannot be read",
                expected=f"a bearer token in {self._token}",
                got=type(error).__name__,
                fix="mount the service account's token there",
            ) from error


def _start(text: bytes) -> str:
    return " ".join(text[:300].decode("utf-8", errors="replace").split())


def shown(url: str) -> str:
    """The address without user and password, which may be secret."""
    host = urlsplit(url).netloc
    return url.replace(host, host.rpartition("@")[2], 1) if "@" in host else url


def broken(error: BaseException) -> str:
    """The system's own words for a connection that failed, such as "Connection refused", from within what clients wrap it in."""
    within: BaseException | None = error
    while within is not None:
        if isinstance(within, OSError) and within.strerror:
            return within.strerror
        reason = getattr(within, "reason", None)
        within = reason if isinstance(reason, BaseException) else within.__cause__ or within.__context__
    return f"{type(error).__name__}: {error}"
