"""A topic of Kafka as an event log. Offsets belong to the reader's own state: nothing is committed to Kafka, so nothing counts twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hallmark.errors import NotFound, Unavailable
from hallmark.feature_store.log import Record

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Producer

_SECONDS = 10.0


class KafkaLog:
    """One topic. `configuration` is librdkafka's, with `bootstrap.servers`; `Unavailable` where the cluster does not answer.

    Only what was committed by its producer is read. A record that retention has taken is `NotFound`, never skipped without a word.
    """

    def __init__(self, configuration: Mapping[str, Any], topic: str) -> None:
        self._configuration = dict(configuration)
        self._topic = topic
        self._consumers: dict[str, Consumer] = {}
        self._next: dict[str, int] = {}
        self._producer: Producer | None = None

    def partitions(self) -> list[str]:
        """The topic's partitions, by number."""
        from confluent_kafka import KafkaException

        try:
            found = self._consumer("").list_topics(self._topic, timeout=_SECONDS).topics[self._topic]
        except KafkaException as error:
            raise self._unavailable(error) from error
        if found.error is not None:
            raise self._unavailable(found.error)
        return [str(number) for number in sorted(found.partitions)]

    def begin(self, partition: str) -> int:
        """The offset of the oldest record."""
        from confluent_kafka import KafkaException, TopicPartition

        try:
            low, _ = self._consumer(partition).get_watermark_offsets(
                TopicPartition(self._topic, int(partition)), timeout=_SECONDS
            )
        except KafkaException as error:
            raise self._unavailable(error) from error
        return int(low)

    def read(self, partition: str, offset: int, limit: int) -> list[Record]:
        """Up to `limit` records from `offset` on that have been fetched, which goes on in the background; never waits."""
        from confluent_kafka import KafkaError, TopicPartition

        consumer = self._consumer(partition)
        if self._next.get(partition) != offset:
            consumer.assign([TopicPartition(self._topic, int(partition), offset)])
            self._next[partition] = offset
        records: list[Record] = []
        for message in consumer.consume(limit, timeout=0.0):
            error = message.error()
            if error is None:
                records.append(Record(message.offset() or 0, message.value() or b""))
            elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                self._next.pop(partition, None)
                if records:
                    break  # these are there; the next reading asks for the missing one again, and is told
                raise NotFound(
                    f"the topic {self._topic} no longer has record {offset} of partition {partition}",
                    expected="records that the job has not read yet", got=str(error.str()),
                    fix="fill the state again with a backfill, and keep the topic for longer",
                )  # fmt: skip
            elif not error.retriable() and error.code() != KafkaError._ALL_BROKERS_DOWN and not records:
                self._next.pop(partition, None)
                raise self._unavailable(error)
        if records:
            self._next[partition] = records[-1].offset + 1
        return records

    def append(self, partition: str | None, values: Sequence[bytes]) -> int:
        """Write records, to one partition or spread over all, and wait until all replicas have them; gives the offset after the last."""
        from confluent_kafka import Producer

        if self._producer is None:
            self._producer = Producer({**self._configuration, "acks": "all", "enable.idempotence": True})
        written: list[int] = []
        failed: list[Any] = []

        def told(error: Any, message: Any) -> None:
            if error is None:
                written.append(message.offset())
            else:
                failed.append(error)

        where = -1 if partition is None else int(partition)  # -1: any
        for value in values:
            self._producer.produce(self._topic, value, partition=where, on_delivery=told)
            self._producer.poll(0)
        left = self._producer.flush(_SECONDS)
        if failed or left:
            raise self._unavailable(failed[0] if failed else f"{left} records were not acknowledged in {_SECONDS:g} s")
        return max(written, default=-1) + 1

    def close(self) -> None:
        """Give up the connections."""
        for consumer in self._consumers.values():
            consumer.close()
        self._consumers, self._next = {}, {}

    def __enter__(self) -> KafkaLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _consumer(self, partition: str) -> Consumer:
        from confluent_kafka import Consumer

        if partition not in self._consumers:
            self._consumers[partition] = Consumer(
                {
                    **{"group.id": "hallmark-stream", "enable.auto.commit": False, "auto.offset.reset": "error"},
                    **{"isolation.level": "read_committed", "enable.partition.eof": False},
                    **self._configuration,
                }
            )
        return self._consumers[partition]

    def _unavailable(self, error: object) -> Unavailable:
        return Unavailable(
            f"Kafka does not answer for the topic {self._topic}", expected=str(self._configuration.get("bootstrap.servers", "")),
            got=str(error), fix="see whether the cluster runs and this account may read the topic",
        )  # fmt: skip
