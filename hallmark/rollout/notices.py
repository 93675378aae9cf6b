"""Notices: messages to people about a domain's models, each delivered once to each receiver, tried again until it is.

<state>/notices/<domain>/
  waiting/<key>.json   to be sent: by whom it was not taken yet, how often it was tried, and when it is tried next
  sent/<key>           was taken, or given up after a day: the same is not sent again
  lock                 held by whoever sends

A message's key is of what it is about, so that the same event is one message however often, and by however many, it is told. A receiver
that took a message and whose answer was lost gets it twice, and sees it by the key in `Idempotency-Key`; nothing on this side can tell.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hallmark.declaration.notify import Event
from hallmark.files import locked, replace
from hallmark.section import Frozen

if TYPE_CHECKING:
    from hallmark.declaration.domain import Domain
    from hallmark.declaration.notify import Receiver
    from hallmark.rollout.timeline import TimelineEntry
    from hallmark.settings import Settings

FIRST_WAIT, LONGEST_WAIT = 1.0, 600.0
"""Seconds until a message is tried again: twice as many each time, up to the longest."""
GIVEN_UP = 24 * 3600.0
_ANSWER = 10.0
_KEPT = 30 * 86400.0
_OF_KIND: dict[str, Event] = {"promote": "decision", "rollback": "rollback", "drift": "drift", "guarantee": "guarantee"}
_WORDS: dict[Event, str] = {
    "decision": "promoted",
    "rollback": "rolled back",
    "drift": "drift",
    "refused": "training refused",
    "guarantee": "promise broken",
}


class Notice(Frozen):
    """A message.

    about: what makes it the same one when it is told again, such as a correlation id.
    """

    domain: str
    event: Event
    title: str
    text: str
    at: datetime
    about: str
    version: int | None = None
    link: str = ""


class _Waiting(Frozen):
    notice: Notice
    address: str
    format: str
    begun: float
    tries: int = 0
    due: float = 0.0
    last: str = ""


def of_entry(domain: str, entry: TimelineEntry) -> Notice | None:
    """The message about an entry of a timeline; None where nobody is told of such."""
    event = _OF_KIND.get(entry.kind)
    if entry.kind == "training" and "refused" in entry.text:
        event = "refused"
    if event is None:
        return None
    version = f" version {entry.version}" if entry.version is not None else ""
    return Notice(
        domain=domain,
        event=event,
        title=f"{domain}{version}: {_WORDS[event]}",
        text="\n".join([entry.told, *(reason.text for reason in entry.reasons)]),
        at=entry.at,
        about=f"{entry.correlation}/{entry.kind}/{entry.version}/{entry.at.isoformat()}",
        version=entry.version,
    )


def refused(domain: str, *, reasons: tuple[str, ...], about: str, at: datetime) -> Notice:
    """The message about a training that the gate refused."""
    return Notice(
        domain=domain, event="refused", title=f"{domain}: training refused", text="\n".join(reasons), at=at, about=about
    )


class Outbox:
    """The messages of one domain. `say` is told what cannot be delivered, once each."""

    def __init__(
        self,
        domain: Domain,
        settings: Settings,
        *,
        say: Callable[[str], None] = lambda text: None,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._notify = domain.notify
        self._folder = settings.state / "notices" / domain.name
        self._say, self._clock = say, clock
        self._environment = os.environ if environment is None else environment
        self._told: set[str] = set()

    def put(self, notice: Notice) -> None:
        """Have a message delivered to all who want to know of such; the same one again changes nothing."""
        for receiver in self._notify.receivers if self._notify else ():
            if notice.event in receiver.on:
                self._put(notice, receiver)

    def _put(self, notice: Notice, receiver: Receiver) -> None:
        told = json.dumps([notice.domain, notice.event, notice.about, receiver.address, receiver.format])
        key = hashlib.sha256(told.encode()).hexdigest()
        if (self._folder / "sent" / key).exists() or (self._folder / "waiting" / f"{key}.json").exists():
            return
        link = self._notify.link if self._notify else ""
        link = link.replace("{domain}", notice.domain).replace("{correlation}", notice.about.partition("/")[0])
        waiting = _Waiting(
            notice=notice.model_copy(update={"link": link}),
            address=receiver.address,
            format=receiver.format,
            begun=self._clock(),
        )
        replace(self._folder / "waiting" / f"{key}.json", waiting.model_dump_json())

    def deliver(self) -> float | None:
        """Send what is due; seconds until the next is, None where nothing waits. While another process sends, it does."""
        if not (self._folder / "waiting").is_dir():
            return None
        try:
            with locked(self._folder / "lock", patience=0.0):
                return self._deliver()
        except TimeoutError:
            return LONGEST_WAIT

    def _deliver(self) -> float | None:
        (self._folder / "sent").mkdir(exist_ok=True)
        waits: list[float] = []
        for path in sorted((self._folder / "waiting").glob("*.json")):
            if (self._folder / "sent" / path.stem).exists():  # it was taken, and whoever sent it was killed right then
                path.unlink(missing_ok=True)
                continue
            try:
                waiting = _Waiting.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                path.unlink(missing_ok=True)
                continue
            now = self._clock()
            if waiting.due > now:
                waits.append(waiting.due - now)
                continue
            problem = self._send(waiting, path.stem)
            if not problem or now - waiting.begun > GIVEN_UP:
                if problem:
                    self._say(f"{waiting.notice.title}: not delivered to ${waiting.address} within a day: {problem}")
                (self._folder / "sent" / path.stem).touch()
                path.unlink(missing_ok=True)
                continue
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0**waiting.tries)
            if path.stem not in self._told:
                self._told.add(path.stem)
                self._say(f"{waiting.notice.title}: ${waiting.address} did not take it ({problem}); it is tried again")
            again = waiting.model_copy(update={"tries": waiting.tries + 1, "due": now + wait, "last": problem})
            replace(path, again.model_dump_json())
            waits.append(wait)
        for path in (self._folder / "sent").iterdir():
            if self._clock() - path.stat().st_mtime > _KEPT:
                path.unlink(missing_ok=True)
        return min(waits, default=None)

    def within(self, seconds: float) -> None:
        """Deliver what can be within so many seconds; the rest waits for the next command or watch."""
        until = time.monotonic() + seconds
        while (wait := self.deliver()) is not None and time.monotonic() + wait < until:
            time.sleep(wait)

    def following(self, stop: threading.Event) -> threading.Thread:
        """A thread that delivers until `stop` is set: a receiver that hangs holds up no watch."""

        def run() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError):  # a full disk: the watch says so, and this is tried again
                    self.deliver()
                stop.wait(FIRST_WAIT)

        thread = threading.Thread(target=run, name="notices", daemon=True)
        thread.start()
        return thread

    def _send(self, waiting: _Waiting, key: str) -> str:
        """Send one message; gives what went wrong, without the address, which is a secret."""
        url = self._environment.get(waiting.address, "")
        if not url.startswith(("http://", "https://")):
            return "the environment has no such variable" if not url else "it holds no http address"
        body = json.dumps(_body(waiting.notice, waiting.format, key)).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310  http(s) by the line above
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER):  # noqa: S310
                return ""
        except urllib.error.HTTPError as error:
            return f"it answered {error.code}"
        except (urllib.error.URLError, OSError, ValueError) as error:
            return type(getattr(error, "reason", error)).__name__


def _body(notice: Notice, form: str, key: str) -> dict[str, Any]:
    if form == "slack":
        text = "\n".join(f"• {_slack(line)}" for line in notice.text.splitlines())
        link = f"\n<{notice.link}|Open>" if notice.link else ""
        section = {
            "type": "section",
            "text": {"type": "mrkdwn", "text": f"*{_slack(notice.title)}*\n{text}{link}"[:3000]},
        }
        return {"text": _slack(notice.title), "blocks": [section]}
    return {"key": key, **notice.model_dump(mode="json")}


def _slack(text: str) -> str:
    """Text as Slack takes it: its three signs escaped, so that nobody is called by a reason."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def now() -> datetime:
    """The time of a message."""
    return datetime.now(UTC)


def waiting(settings: Settings) -> list[Path]:
    """Messages that wait on this machine, of all domains."""
    return sorted((settings.state / "notices").glob("*/waiting/*.json"))
