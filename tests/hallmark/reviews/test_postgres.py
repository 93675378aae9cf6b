"""The queue in PostgreSQL, on a server of this test's own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hallmark.errors import Unavailable
from hallmark.reviews.case import Verdict, Word
from hallmark.reviews.database import connect
from hallmark.reviews.queue import ReviewQueue
from tests.hallmark.reviews.cases import case
from tests.hallmark.reviews.conformance import QueueContract
from tests.hallmark.reviews.server import created, missing, postgres

if why := missing():
    pytest.skip(why, allow_module_level=True)

_NAMES = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as address:
        yield address


class TestPostgres(QueueContract):
    @pytest.fixture
    def address(self, server: str) -> str:
        return created(server, f"r{next(_NAMES)}")


def test_a_server_that_is_not_there_is_told_by_its_address() -> None:
    with pytest.raises(Unavailable, match="does not answer") as caught:
        ReviewQueue(connect("postgresql://hallmark@127.0.0.1:1/none")).open(case("a"))
    assert "127.0.0.1:1" in caught.value.expected


@pytest.mark.slow
def test_a_verdict_waits_for_the_disk_and_a_claim_need_not(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = connect(created(server, f"r{next(_NAMES)}"))
    waits: list[str] = []
    real = type(database).transaction

    @contextmanager
    def told(self: Any, **given: Any) -> Iterator[Any]:
        with real(self, **given) as session:
            yield session
            waits.append(session.all("SHOW synchronous_commit")[0][0])

    monkeypatch.setattr(type(database), "transaction", told)
    queue = ReviewQueue(database)
    queue.open(case("a"))
    claim = queue.claim("ana")
    assert claim is not None
    queue.give(claim.token, Verdict(word=Word.authentic), who="ana")
    database.close()
    assert waits == ["on", "off", "on"]
