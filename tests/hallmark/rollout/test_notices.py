"""People are told once: of decisions, roll-backs, drift and refused trainings, however their receiver behaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError

from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.declaration.notify import Notify, Receiver
from hallmark.rollout.notices import GIVEN_UP, Notice, Outbox, of_entry
from hallmark.rollout.timeline import TimelineEntry
from hallmark.settings import Settings

TOY = Path(__file__).parents[2] / "toy"
SECRET = "s3cret-path"


class Receives:
    """A server that refuses the first `fails` messages with 503, and keeps what it took."""

    def __init__(self, fails: int = 0) -> None:
        self.taken: list[dict[str, object]] = []
        self.keys: list[str | None] = []
        self.fails = fails
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.fails:
                    outer.fails -= 1
                    self.send_error(503)
                    return
                outer.taken.append(json.loads(body))
                outer.keys.append(self.headers["Idempotency-Key"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{SECRET}"


@pytest.fixture
def receiver() -> Iterator[Receives]:
    found = Receives(fails=2)
    yield found
    found.server.shutdown()
    found.server.server_close()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def toy(tmp_path: Path, *, form: str = "webhook") -> tuple[Domain, Settings]:
    settings = Settings.load({"HALLMARK_ROOT": str(TOY), "HALLMARK_STATE": str(tmp_path)})
    told = Receiver.model_validate({"address": "TOY_URL", "format": form, "on": ["rollback", "refused"]})
    notify = Notify(receivers=(told,), link="https://example.test/{domain}?id={correlation}")
    return domains.load("toy", settings).model_copy(update={"notify": notify}), settings


def entry(kind: str = "rollback", **more: object) -> TimelineEntry:
    given = {"at": datetime(2026, 11, 1, tzinfo=UTC), "correlation": "a" * 32, "kind": kind, "text": "<it> failed"}
    return TimelineEntry.model_validate(given | {"version": 3} | more)


def notice(**more: object) -> Notice:
    found = of_entry("toy", entry(**more))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_a_receiver_that_fails_twice_gets_the_message_exactly_once(tmp_path: Path, receiver: Receives) -> None:
    domain, settings = toy(tmp_path)
    clock, said = Clock(), list[str]()
    outbox = Outbox(domain, settings, environment={"TOY_URL": receiver.url}, clock=clock, say=said.append)
    waits = []
    outbox.put(notice())
    for _ in range(6):
        wait = outbox.deliver()
        waits.append(wait)
        clock.now += wait or 1.0
        outbox.put(notice())  # it is told again, as by a watch that was restarted
        outbox = Outbox(domain, settings, environment={"TOY_URL": receiver.url}, clock=clock, say=said.append)
    assert [each["title"] for each in receiver.taken] == ["toy version 3: rolled back"]
    assert waits[:3] == [1.0, 2.0, None], "twice as long each time, then nothing waits"
    assert receiver.taken[0]["link"] == f"https://example.test/toy?id={'a' * 32}"
    assert receiver.keys == [receiver.taken[0]["key"]]
    assert said and not any(SECRET in each for each in said)
    assert not any(SECRET in path.read_text() for path in tmp_path.rglob("*") if path.is_file()), (
        "the address is a secret"
    )


def test_only_what_was_asked_for_is_sent_and_another_event_is_another_message(
    tmp_path: Path, receiver: Receives
) -> None:
    domain, settings = toy(tmp_path)
    receiver.fails = 0
    outbox = Outbox(domain, settings, environment={"TOY_URL": receiver.url})
    outbox.put(notice(kind="promote"))
    assert of_entry("toy", entry("hold")) is None
    outbox.put(notice(kind="training", text="run x: refused: too bad"))
    outbox.put(notice(at=datetime(2026, 11, 2, tzinfo=UTC)))
    outbox.within(5)
    assert sorted(str(each["event"]) for each in receiver.taken) == ["refused", "rollback"]


def test_slack_is_told_in_its_own_form(tmp_path: Path, receiver: Receives) -> None:
    domain, settings = toy(tmp_path, form="slack")
    receiver.fails = 0
    outbox = Outbox(domain, settings, environment={"TOY_URL": receiver.url})
    outbox.put(notice(text="see <!channel>"))
    outbox.within(5)
    (body,) = receiver.taken
    assert body["text"] == "toy version 3: rolled back"
    assert "see &lt;!channel&gt;" in json.dumps(body["blocks"]) and "|Open>" in json.dumps(body["blocks"])


def test_a_message_without_an_address_is_said_kept_and_given_up_after_a_day(tmp_path: Path) -> None:
    domain, settings = toy(tmp_path)
    clock, said = Clock(), list[str]()
    outbox = Outbox(domain, settings, environment={}, clock=clock, say=said.append)
    outbox.put(notice())
    assert outbox.deliver() == 1.0
    assert "$TOY_URL" in said[0] and "no such variable" in said[0]
    clock.now += GIVEN_UP + 1
    assert outbox.deliver() is None
    assert "within a day" in said[-1]


def test_an_address_in_the_file_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValidationError, match="expected the name of an environment variable"):
        Receiver.model_validate({"address": "https://hooks.example.test/services/T0/B0/x"})
