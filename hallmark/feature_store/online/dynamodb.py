"""Online store in a table of DynamoDB: nothing to run, a few milliseconds a read."""

from __future__ import annotations

import asyncio
import os
import random
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from datetime import timedelta
from functools import partial
from typing import Any

from hallmark.errors import DeclarationError, Refused, Unavailable
from hallmark.feature_store import aws
from hallmark.feature_store.online import store
from hallmark.feature_store.online.keys import EntityKey, Key, checked, prefix
from hallmark.feature_store.online.store import Row

SHARDS = 32
"""Parts that a view's entities are spread over, by a hash: DynamoDB bounds what one part takes, and `scan` asks for each. Never to be changed."""
PART, ENTITY, VALUE, EXPIRES = "part", "entity", "value", "expires"
"""Attributes: namespace/view@1/shard, of which IAM sees the beginning; the entity key; stamp and payload; seconds since 1970."""
LARGEST = 400 * 1024
"""Bytes of the largest item, names of attributes included."""
_MOST_KEYS = 100
_THREADS = 16
_AGAIN = {
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
    "TransactionConflictException",
}
"""What DynamoDB says where the same request may succeed a moment later."""


class DynamoDBStore:
    """Items of one table, each written by a PutItem on the condition that it is newer.

    The condition is one comparison of bytes, which DynamoDB makes where the item is. That it holds among racing writers is DynamoDB's
    promise of atomic conditional writes; the tests race SQLite and Redis, and of DynamoDB try the condition itself.
    """

    def __init__(
        self,
        table: str,
        *,
        namespace: str,
        region: str | None = None,
        endpoint: str | None = None,
        consistent: bool = False,
        read_seconds: float = store.READ_SECONDS,
        write_seconds: float = store.WRITE_SECONDS,
    ) -> None:
        """Credentials and region are found as boto3 finds them, now, so that no request waits for it.

        consistent: a read sees every write that was acknowledged before it, at twice the price.
        """
        self._table = table
        self._namespace = checked(namespace)
        self._consistent = consistent
        self._read_seconds = read_seconds
        self._write_seconds = write_seconds
        self._where: dict[str, Any] = {"region_name": region, "endpoint_url": endpoint}
        self._begin()

    def read(self, keys: Sequence[Key]) -> list[Row | None]:
        """See `OnlineStore`; requests of 100 keys, at once, and again for what DynamoDB left out, until the time is up."""
        if not keys:
            return []
        self._forked()
        until = time.monotonic() + self._read_seconds
        wanted: list[Any] = [self._name(key) for key in dict.fromkeys(keys)]
        found: dict[tuple[str, bytes], bytes] = {}
        for pause in _pauses(until):
            parts = [wanted[at : at + _MOST_KEYS] for at in range(0, len(wanted), _MOST_KEYS)]
            answers = self._all([partial(self._get, part) for part in parts], until, self._read_seconds)
            for answer in answers:
                for item in answer["Responses"].get(self._table, ()):
                    found[item[PART]["S"], item[ENTITY]["B"]] = item[VALUE]["B"]
            wanted = [
                name for answer in answers for name in answer["UnprocessedKeys"].get(self._table, {}).get("Keys", ())
            ]
            if not wanted:
                break
            time.sleep(pause)
        else:
            raise self._down(TimeoutError(f"{len(wanted)} keys are not processed"), self._read_seconds)
        values = [found.get((self._part(key), key.entity)) for key in keys]
        return [None if value is None else store.unpacked(key, value) for key, value in zip(keys, values, strict=True)]

    async def aread(self, keys: Sequence[Key]) -> list[Row | None]:
        """`read` by a thread: boto3 has no other way."""
        if not keys:
            return []
        self._forked()
        try:
            async with asyncio.timeout(self._read_seconds):
                return await asyncio.get_running_loop().run_in_executor(self._callers, self.read, keys)
        except TimeoutError as error:
            raise self._down(error, self._read_seconds) from error

    def write(self, rows: Iterable[Row], *, keep: Mapping[str, timedelta] | None = None) -> int:
        """See `OnlineStore`; one request a key. `Refused`, with nothing written, where a row is larger than an item can be."""
        items = [self._item(key, value, keep) for key, value in store.newest(rows).items()]
        self._forked()
        until = time.monotonic() + self._write_seconds
        return sum(self._all([partial(self._put, item, until) for item in items], until, self._write_seconds))

    def erase(self, entity: EntityKey, views: Iterable[str]) -> int:
        """See `OnlineStore`."""
        self._forked()
        until = time.monotonic() + self._write_seconds
        names = [self._name(Key(view, entity)) for view in dict.fromkeys(views)]
        return sum(self._all([partial(self._delete, name, until) for name in names], until, self._write_seconds))

    def scrub(self) -> None:
        """See `OnlineStore`; nothing to do: the table's backups are its own."""

    def scan(self, view: str) -> Iterator[list[Row]]:
        """See `OnlineStore`; shard by shard."""
        for shard in range(SHARDS):
            query: dict[str, Any] = {
                "TableName": self._table,
                "KeyConditionExpression": "#part = :part",
                "ExpressionAttributeNames": {"#part": PART},
                "ExpressionAttributeValues": {":part": {"S": self._shard(view, shard)}},
                "ConsistentRead": self._consistent,
            }
            while query:
                self._forked()
                until = time.monotonic() + self._write_seconds
                ask = partial(self._again, partial(self._writer.query, **query), until)
                (answer,) = self._all([ask], until, self._write_seconds)
                if page := [
                    store.unpacked(Key(view, EntityKey(item[ENTITY]["B"])), item[VALUE]["B"])
                    for item in answer["Items"]
                ]:
                    yield page
                query = (
                    query | {"ExclusiveStartKey": answer["LastEvaluatedKey"]} if "LastEvaluatedKey" in answer else {}
                )

    def close(self) -> None:
        """See `OnlineStore`."""
        for each in (self._requests, self._callers):
            each.shutdown(wait=False, cancel_futures=True)
        for client in (self._reader, self._writer):
            client.close()
        self._process = 0

    async def aclose(self) -> None:
        """See `OnlineStore`."""
        self.close()

    def _begin(self) -> None:
        """Clients and threads of this process: those of another are of no use to it."""
        import boto3  # type: ignore[import-untyped]
        from botocore.config import Config  # type: ignore[import-untyped]
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

        def client(seconds: float) -> Any:
            once = {"total_max_attempts": 1}
            config = Config(connect_timeout=seconds, read_timeout=seconds, retries=once, max_pool_connections=_THREADS)
            return session.client("dynamodb", config=config, **self._where)

        try:
            session = boto3.session.Session()
            self._reader, self._writer = client(self._read_seconds), client(self._write_seconds)
            if (credentials := session.get_credentials()) is not None:
                credentials.get_frozen_credentials()
        except (BotoCoreError, ValueError) as error:
            raise DeclarationError(
                f"the address of the online store, table {self._table}, is not whole",
                expected="a region, and an endpoint that is a URL, if any",
                got=str(error),
                fix="write it as dynamodb://table?region=eu-central-1",
            ) from error
        if credentials is None:
            raise aws.unsigned(f"the online store, table {self._table}")
        self._requests = ThreadPoolExecutor(_THREADS, thread_name_prefix="dynamodb")
        self._callers = ThreadPoolExecutor(_THREADS, thread_name_prefix="dynamodb-read")
        self._process = os.getpid()

    def _forked(self) -> None:
        if self._process != os.getpid():
            self._begin()

    def _shard(self, view: str, shard: int) -> str:
        return f"{prefix(self._namespace, view).decode('ascii')}{shard}"

    def _part(self, key: Key) -> str:
        return self._shard(key.view, zlib.crc32(key.entity) % SHARDS)

    def _name(self, key: Key) -> dict[str, Any]:
        return {PART: {"S": self._part(key)}, ENTITY: {"B": key.entity}}

    def _item(self, key: Key, value: bytes, keep: Mapping[str, timedelta] | None) -> dict[str, Any]:
        item = {**self._name(key), VALUE: {"B": value}}
        if (expires := store.droppable(key, value, keep)) is not None:
            item[EXPIRES] = {"N": str(max(expires, 0) // 1000)}
        size = sum(len(name) + len(next(iter(held.values()))) for name, held in item.items())
        if size > LARGEST:
            raise Refused(
                f"a row of {key.view} is too large for DynamoDB, and no row was written",
                expected=f"at most {LARGEST:,} bytes",
                got=f"{size:,} bytes",
                fix="make the view smaller, such as its sets of different values, or use Redis",
            )
        return item

    def _get(self, names: list[Any]) -> dict[str, Any]:
        """What BatchGetItem answers; where DynamoDB is too busy, that it processed nothing."""
        from botocore.exceptions import ClientError, ConnectionClosedError

        asked = {self._table: {"Keys": names, "ConsistentRead": self._consistent}}
        try:
            return dict(self._reader.batch_get_item(RequestItems=asked))
        except ClientError as error:
            if error.response["Error"]["Code"] not in _AGAIN:
                raise
        except ConnectionClosedError:
            pass
        return {"Responses": {}, "UnprocessedKeys": asked}

    def _put(self, item: dict[str, Any], until: float) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._again(
                lambda: self._writer.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression="attribute_not_exists(#value) OR #value < :value",
                    ExpressionAttributeNames={"#value": VALUE},
                    ExpressionAttributeValues={":value": item[VALUE]},
                ),
                until,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return False
        return True

    def _delete(self, name: dict[str, Any], until: float) -> bool:
        answer = self._again(
            lambda: self._writer.delete_item(TableName=self._table, Key=name, ReturnValues="ALL_OLD"), until
        )
        return "Attributes" in answer

    def _again(self, ask: Callable[[], Any], until: float) -> Any:
        """The answer, asked for until the time is up where DynamoDB is too busy."""
        from botocore.exceptions import ClientError, ConnectionClosedError

        last: Exception = TimeoutError("its turn did not come")
        for pause in _pauses(until):
            try:
                return ask()
            except ClientError as error:
                if error.response["Error"]["Code"] not in _AGAIN:
                    raise
                last = error
            except ConnectionClosedError as error:
                last = error
            time.sleep(pause)
        raise last

    def _all(self, calls: Sequence[Callable[[], Any]], until: float, seconds: float) -> list[Any]:
        """The answers of all calls, made at once; `Unavailable` at the end of the time, whatever threads still wait for."""
        from botocore.exceptions import BotoCoreError, ClientError

        futures: list[Future[Any]] = [self._requests.submit(call) for call in calls]
        done, late = wait_for(futures, timeout=max(0.0, until - time.monotonic()), return_when="FIRST_EXCEPTION")
        for future in late:
            future.cancel()
        try:
            for future in done:
                future.result()
        except (ClientError, BotoCoreError, OSError) as error:
            raise self._down(error, seconds) from error
        if late:
            raise self._down(TimeoutError(f"{len(late)} of {len(calls)} requests have no answer"), seconds)
        return [future.result() for future in futures]

    def _down(self, error: Exception, seconds: float) -> Unavailable:
        said = str(error)
        fix = ""
        if "ResourceNotFoundException" in said:
            fix = "see the table's name and region; terraform/modules/online_store makes it"
        elif "AccessDenied" in said:
            fix = f"give this account its part of {self._namespace}/, as docs/features.md has it under Rights: {store.RIGHTS}"
        elif "ValidationException" in said:
            fix = f"see that the table's keys are {PART} (S) and {ENTITY} (B), as terraform/modules/online_store makes them"
        return store.down(f"in DynamoDB, table {self._table},", seconds, error, fix=fix)


def _pauses(until: float) -> Iterator[float]:
    """Seconds to wait before each next try, longer and longer and drawn by chance; none where the time would be up."""
    longest = 0.005
    while (left := until - time.monotonic()) > 0:
        yield min(random.uniform(0, longest), left)  # noqa: S311
        longest = min(longest * 2, 0.5)
