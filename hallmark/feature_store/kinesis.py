"""A stream of Kinesis as an event log: partitions are its shards, and an offset is the sequence number of a record.

Offsets belong to the reader's own state, so nothing counts twice. Shards that split or merge are read side by side, each to its
end: rows may come in any order (docs/decisions/0036), so a child need not wait for its parent.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hallmark.errors import DeclarationError, HallmarkError, NotFound, Unavailable
from hallmark.feature_store.log import Record

LARGEST = 1 << 20
"""Bytes of the largest record that every stream takes."""
_SECONDS = 10.0
_SHARDS_SECONDS = 10.0
"""For how long a list of shards is good: two of them split or merge in half a minute."""
_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
"""Seconds between two reads of a shard, of which Kinesis answers five a second to all its readers together."""
_MOST_READ = 10_000
_MOST_WRITTEN, _MOST_BYTES = 500, 4 << 20
_BUSY = {"ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException"}
"""What Kinesis says where the same request may succeed a moment later."""
_GONE = {"ResourceNotFoundException", "InvalidArgumentException"}


@dataclass
class _Reader:
    """How far a shard is read. iterator: none where a closed shard is read to its end. last: the record that must come first."""

    next: int
    iterator: str | None
    last: int | None
    due: float = 0.0
    pause: float = 0.0


class KinesisLog:
    """One stream. Credentials and region are found as boto3 finds them; `Unavailable` where Kinesis does not answer.

    Where the record that was read last is no longer there, nobody can say whether others after it are lost too: `NotFound`, never
    skipped without a word. So a stream keeps its records for longer than its source may be silent and its reader down.
    """

    def __init__(self, stream: str, *, region: str | None = None, endpoint: str | None = None) -> None:
        import boto3  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

        self._stream = stream
        config = Config(connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"total_max_attempts": 1})
        try:
            self._client = boto3.session.Session().client(
                "kinesis", config=config, region_name=region, endpoint_url=endpoint
            )
        except (BotoCoreError, ValueError) as error:
            raise DeclarationError(
                f"the address of the stream {stream} is not whole", expected="a region, and an endpoint that is a URL, if any",
                got=str(error), fix="write it as kinesis://stream?region=eu-central-1",
            ) from error  # fmt: skip
        self._readers: dict[str, _Reader] = {}
        self._shards: tuple[float, list[str]] = (0.0, [])

    def partitions(self) -> list[str]:
        """Its shards that still hold records, closed ones too, by id."""
        until, found = self._shards
        if time.monotonic() >= until:
            found = [shard["ShardId"] for shard in self._listed()]
            self._shards = (time.monotonic() + _SHARDS_SECONDS, found)
        return found

    def begin(self, partition: str) -> int:
        """0, before the oldest record: Kinesis says which that is only by giving it."""
        return 0

    def read(self, partition: str, offset: int, limit: int) -> list[Record]:
        """Up to `limit` records from `offset` on; none where it is too soon to ask again, or Kinesis is busy. Never waits for more."""
        from botocore.exceptions import BotoCoreError, ClientError

        reader = self._readers.get(partition)
        if reader is not None and reader.next == offset and (not reader.iterator or time.monotonic() < reader.due):
            return []
        try:
            if reader is None or reader.next != offset:
                iterator = self._iterator(partition, offset)
                reader = _Reader(offset, iterator, offset - 1 if offset else None, pause=_PAUSE)
                self._readers[partition] = reader
            more = 0 if reader.last is None else 1
            answer = self._client.get_records(ShardIterator=reader.iterator, Limit=min(limit + more, _MOST_READ))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _BUSY and reader is not None:
                reader.pause = min(reader.pause * 2, _LONGEST_PAUSE)
                reader.due = time.monotonic() + reader.pause * random.uniform(0.5, 1.0)  # noqa: S311
                return []
            self._readers.pop(partition, None)
            if code in _BUSY or code == "ExpiredIteratorException":
                return []
            if code in _GONE and offset:
                raise self._lost(partition, offset, error.response["Error"]["Message"]) from error
            raise self._unavailable(error) from error
        except (BotoCoreError, OSError) as error:
            self._readers.pop(partition, None)
            raise self._unavailable(error) from error
        return self._taken(partition, reader, answer)

    def _taken(self, partition: str, reader: _Reader, answer: Mapping[str, Any]) -> list[Record]:
        """The records of an answer, less the one that was read last, which shows that nothing before them is lost."""
        found = [Record(int(each["SequenceNumber"]), each["Data"]) for each in answer["Records"]]
        at_end = not answer.get("NextShardIterator") or not answer.get("MillisBehindLatest")
        if reader.last is not None and (found or at_end):
            if not found or found[0].offset != reader.last:
                self._readers.pop(partition, None)
                raise self._lost(partition, reader.next, f"record {found[0].offset}" if found else "no record")
            reader.last, found = None, found[1:]
        reader.iterator = answer.get("NextShardIterator")
        reader.pause = max(reader.pause * 0.9, _PAUSE)
        reader.due = time.monotonic() + reader.pause
        if found:
            reader.next = found[-1].offset + 1
        return found

    def append(self, partition: str | None, values: Sequence[bytes]) -> int:
        """Write records, to one shard or spread over all; gives the offset after the last. Those that Kinesis turned away are sent again.

        `Unavailable` after 10 seconds, in which some may have been written: a row that comes twice counts once.
        """
        key = None if partition is None else self._hash_key(partition)
        if large := [len(value) for value in values if len(value) > LARGEST]:
            raise HallmarkError(
                "a record is too large for Kinesis", expected=f"{LARGEST} bytes at most", got=f"{large[0]}"
            )
        highest = -1
        for batch in _batches([_entry(value, key) for value in values]):
            until, pause = time.monotonic() + _SECONDS, 0.05
            while batch:
                answers = self._asked(self._client.put_records, StreamName=self._stream, Records=batch)["Records"]
                highest = max([highest, *(int(each["SequenceNumber"]) for each in answers if "SequenceNumber" in each)])
                said = [each.get("ErrorCode") for each in answers]
                batch = [entry for entry, code in zip(batch, said, strict=True) if code]
                if batch and time.monotonic() > until:
                    raise self._unavailable(f"{len(batch)} records were turned away: {next(filter(None, said))}")
                if batch:
                    time.sleep(random.uniform(0, pause))  # noqa: S311
                    pause = min(pause * 2, 1.0)
        return highest + 1

    def close(self) -> None:
        """Give up the connections."""
        self._client.close()
        self._readers = {}

    def __enter__(self) -> KinesisLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _iterator(self, partition: str, offset: int) -> str:
        where: dict[str, str] = {"ShardIteratorType": "TRIM_HORIZON"}
        if offset:
            where = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": str(offset - 1)}
        return str(
            self._client.get_shard_iterator(StreamName=self._stream, ShardId=partition, **where)["ShardIterator"]
        )

    def _listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        asked: dict[str, Any] = {"StreamName": self._stream, "ShardFilter": {"Type": "AT_TRIM_HORIZON"}}
        while asked:
            answer = self._asked(self._client.list_shards, **asked)
            found += answer["Shards"]
            asked = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else {}
        return sorted(found, key=lambda shard: str(shard["ShardId"]))

    def _hash_key(self, partition: str) -> str:
        shard = next((each for each in self._listed() if each["ShardId"] == partition), None)
        if shard is None or "EndingSequenceNumber" in shard["SequenceNumberRange"]:
            raise NotFound(
                f"nothing is written to {partition} of the stream {self._stream}", expected="a shard that is open",
                got="none of its shards" if shard is None else "a closed one", fix="name no shard: Kinesis then chooses",
            )  # fmt: skip
        return str(shard["HashKeyRange"]["StartingHashKey"])

    def _asked(self, ask: Callable[..., Any], **request: Any) -> Any:
        """The answer, asked for until the time is up where Kinesis is busy."""
        from botocore.exceptions import BotoCoreError, ClientError

        until, pause = time.monotonic() + _SECONDS, 0.05
        while True:
            try:
                return ask(**request)
            except ClientError as error:
                if error.response["Error"]["Code"] not in _BUSY or time.monotonic() > until:
                    raise self._unavailable(error) from error
            except (BotoCoreError, OSError) as error:
                raise self._unavailable(error) from error
            time.sleep(random.uniform(0, pause))  # noqa: S311
            pause = min(pause * 2, 1.0)

    def _lost(self, partition: str, offset: int, got: str) -> NotFound:
        return NotFound(
            f"the stream {self._stream} no longer has what {partition} held before",
            expected=f"record {offset - 1}, which was read last",
            got=got,
            fix="fill the state again with a backfill, and keep the stream's records for longer",
        )

    def _unavailable(self, error: object) -> Unavailable:
        fix = "see whether this account may read the stream: ListShards, GetShardIterator, GetRecords; PutRecords to write"
        if "ResourceNotFound" in str(error):
            fix = "see the stream's name and region"
        return Unavailable(
            f"Kinesis does not answer for the stream {self._stream}",
            expected=str(self._client.meta.endpoint_url),
            got=str(error),
            fix=fix,
        )


def _entry(value: bytes, key: str | None) -> dict[str, Any]:
    entry = {"Data": value, "PartitionKey": hashlib.sha256(value).hexdigest()}
    return entry if key is None else {**entry, "ExplicitHashKey": key}


def _batches(entries: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """As many records at once as a request takes."""
    found: list[list[dict[str, Any]]] = []
    size = 0
    for entry in entries:
        its = len(entry["Data"]) + len(entry["PartitionKey"])
        if not found or len(found[-1]) == _MOST_WRITTEN or size + its > _MOST_BYTES:
            found.append([])
            size = 0
        found[-1].append(entry)
        size += its
    return found
