"""A topic of Kafka is read from any offset, and again after a restart, on librdkafka's own cluster in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from hallmark.errors import NotFound, Unavailable
from hallmark.feature_store.kafka import KafkaLog
from hallmark.feature_store.log import Record
from hallmark.feature_store.stream import encoded
from tests.hallmark.feature_store.drawn import moment
from tests.hallmark.feature_store.kept import Online
from tests.hallmark.feature_store.test_stream import HOURS, drain, holds, job
from tests.hallmark.feature_store.test_tiles import row

pytestmark = pytest.mark.slow
PATIENCE = 30.0


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    """A cluster inside a producer, which must live on."""
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    yield ",".join(f"{each.host}:{each.port}" for each in producer.list_topics(timeout=10).brokers.values())
    del producer


def read(log: KafkaLog, partition: str, offset: int, count: int) -> list[Record]:
    found: list[Record] = []
    until = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < until:
        found += log.read(partition, found[-1].offset + 1 if found else offset, count - len(found))
        time.sleep(0.01)
    return found


def test_records_come_back_from_any_offset(servers: str) -> None:
    log = KafkaLog({"bootstrap.servers": servers}, "orders")
    values = [f"{n}".encode() for n in range(50)]
    assert log.append("0", values[:30]) == 30 and log.append("0", values[30:]) == 50
    assert "0" in log.partitions() and log.begin("0") == 0
    assert read(log, "0", 0, 50) == [Record(n, value) for n, value in enumerate(values)]
    assert read(log, "0", 20, 5) == [Record(n, values[n]) for n in range(20, 25)]
    assert log.read("0", 50, 5) == []
    with pytest.raises(NotFound, match="no longer has record 900"):
        read(log, "0", 900, 1)
    log.close()


def test_a_stream_goes_on_where_it_was(servers: str, tmp_path: Path) -> None:
    given = [row(n, n, amount=n) for n in range(60)]
    store, log = Online(), KafkaLog({"bootstrap.servers": servers}, "rows")
    for part in (given[:30], given[30:]):
        log.append("0", [encoded(each) for each in part])
        stream = job(tmp_path, log, store, HOURS)
        until = time.monotonic() + PATIENCE
        while sum(stream.fates.values()) <= part[-1]["order"] and time.monotonic() < until:
            drain(stream, 7)
            time.sleep(0.01)
        stream.close()
        log.close()
    holds(HOURS, given, store, moment(61))
    assert stream.fates["hours@1", "applied"] == 60 and stream.fates["hours@1", "repeated"] == 0


def test_a_cluster_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hallmark.feature_store.kafka._SECONDS", 1.0)
    log = KafkaLog({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, "orders")
    with pytest.raises(Unavailable, match="Kafka does not answer"):
        log.partitions()
    log.close()
