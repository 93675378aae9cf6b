"""The queue in a SQLite file."""

from __future__ import annotations

from pathlib import Path

import pytest

from hallmark.errors import DeclarationError, Unavailable
from hallmark.reviews.database import connect
from hallmark.reviews.queue import ReviewQueue
from tests.hallmark.reviews.cases import case
from tests.hallmark.reviews.conformance import QueueContract


class TestSQLite(QueueContract):
    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'reviews.db'}"


def test_a_file_that_is_no_database_is_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "reviews.db"
    path.write_text("this is no database " * 100)
    with pytest.raises(Unavailable, match="not a database") as caught:
        ReviewQueue(connect(f"sqlite:///{path}")).open(case("a"))
    assert str(path) in caught.value.expected


@pytest.mark.parametrize(
    "address", ["", "reviews.db", "sqlite:", "sqlite://host/x", "redis://host", "postgresql://host", "postgresql:///x"]
)
def test_an_address_that_is_none_is_refused_with_those_that_are(address: str) -> None:
    with pytest.raises(DeclarationError, match="no address of a queue") as caught:
        connect(address)
    assert "sqlite:///" in caught.value.expected and "HALLMARK_REVIEWS" in caught.value.fix


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(DeclarationError, match="has a password") as caught:
        connect("postgresql://ana:secret@db.example/reviews")
    assert "secret" not in str(caught.value) and "PGPASSFILE" in caught.value.fix
