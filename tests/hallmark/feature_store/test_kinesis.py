"""A stream of Kinesis is read from any offset, through split and merged shards, and after every kill, on moto's server."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from hallmark.cli import main
from hallmark.errors import DeclarationError, HallmarkError, NotFound, Unavailable
from hallmark.feature_store import log_address
from hallmark.feature_store.kinesis import LARGEST, KinesisLog
from hallmark.feature_store.log import Record
from hallmark.feature_store.stream import encoded
from hallmark.settings import Settings
from tests.hallmark.feature_store.drawn import moment
from tests.hallmark.feature_store.kept import Online
from tests.hallmark.feature_store.killing import POINTS, Killed
from tests.hallmark.feature_store.test_stream import HOURS, holds, job, script, trap
from tests.hallmark.feature_store.test_tiles import row

REGION = "eu-central-1"
ROOT = Path(__file__).parents[3]
_STREAMS = (f"rows-{number}" for number in itertools.count())  # what moto holds outlives its server


@pytest.fixture(scope="module")
def kinesis() -> Iterator[str]:
    """The address of a Kinesis."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("NO_PROXY", "*")):
            patch.setenv(name, value)
        patch.setattr("hallmark.feature_store.kinesis._PAUSE", 0.0)
        patch.setattr("hallmark.feature_store.kinesis._SHARDS_SECONDS", 0.0)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        _, port = server.get_host_and_port()
        yield f"http://127.0.0.1:{port}"
        server.stop()


@pytest.fixture
def client(kinesis: str) -> Iterator[Any]:
    made = boto3.client("kinesis", region_name=REGION, endpoint_url=kinesis)
    yield made
    made.close()


def made(client: Any, *, shards: int = 1, name: str = "") -> str:
    """The name of a new stream."""
    name = name or next(_STREAMS)
    client.create_stream(StreamName=name, ShardCount=shards)
    return name


@pytest.fixture
def log(client: Any, kinesis: str) -> Iterator[KinesisLog]:
    with KinesisLog(made(client), region=REGION, endpoint=kinesis) as found:
        yield found


def read(log: KinesisLog, partition: str, offset: int, count: int) -> list[Record]:
    found: list[Record] = []
    while len(found) < count and (
        more := log.read(partition, found[-1].offset + 1 if found else offset, count - len(found))
    ):
        found += more
    return found


def drain(stream: Any, limit: int = 1000) -> None:
    """Until two steps in a row bring nothing: the first may have asked for new iterators."""
    while stream.step(limit) or stream.step(limit):
        pass


class Watched:
    """A client whose next answers fail."""

    def __init__(self, client: Any, *faults: Any) -> None:
        self._client, self.faults, self.asked = client, list(faults), 0

    def __getattr__(self, name: str) -> Any:
        def ask(**request: Any) -> Any:
            self.asked += 1
            fault = self.faults.pop(0) if self.faults else None
            if isinstance(fault, Exception):
                raise fault
            if fault == "half":  # of a PutRecords
                rows = request["Records"]
                answer = self._client.put_records(**{**request, "Records": rows[::2]})
                done = iter(answer["Records"])
                away = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"}
                return {"Records": [away if at % 2 else next(done) for at in range(len(rows))]}
            return getattr(self._client, name)(**request)

        return getattr(self._client, name) if name in ("close", "meta") else ask


def busy(code: str = "ProvisionedThroughputExceededException", of: str = "GetRecords") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "slow down"}}, of)


def test_records_come_back_from_any_offset(log: KinesisLog) -> None:
    (shard,) = log.partitions()
    values = [f"{n}".encode() for n in range(50)]
    log.append(shard, values[:30])
    after = log.append(None, values[30:])
    found = read(log, shard, log.begin(shard), 7)
    found += read(log, shard, found[-1].offset + 1, 100)
    assert sorted(each.value for each in found) == sorted(values) and found[-1].offset + 1 == after
    assert read(log, shard, found[20].offset + 1, 5) == found[21:26], "after a restart, from where the state says"
    assert log.read(shard, after, 5) == []


def test_records_that_kinesis_turns_away_are_sent_again(client: Any, kinesis: str) -> None:
    with KinesisLog(made(client, shards=3), region=REGION, endpoint=kinesis) as log:
        log._client = watched = Watched(log._client, busy(of="PutRecords"), "half")
        log.append(None, [f"{n}".encode() for n in range(700)])
        assert watched.asked == 4, "busy, half of 500, the other half, 200"
        held = [{each.value for each in read(log, shard, 0, 1000)} for shard in log.partitions()]
        assert all(held) and set.union(*held) == {f"{n}".encode() for n in range(700)}
        with pytest.raises(HallmarkError, match="too large"):
            log.append(None, [b"x" * (LARGEST + 1)])
        with pytest.raises(NotFound, match="nothing is written to shard-9"):
            log.append("shard-9", [b"x"])


def test_a_busy_shard_is_asked_less_often(log: KinesisLog) -> None:
    (shard,) = log.partitions()
    log.append(None, [b"a", b"b"])
    (first,) = read(log, shard, 0, 1)
    log._client = watched = Watched(log._client, busy(), busy())
    assert log.read(shard, first.offset + 1, 5) == [] and log._readers[shard].pause == 0.0, "twice nothing is nothing"
    log._readers[shard].pause = 0.05
    assert log.read(shard, first.offset + 1, 5) == [] and log._readers[shard].pause == 0.1
    assert log.read(shard, first.offset + 1, 5) == [] and watched.asked == 2, "it is not asked before its time"
    time.sleep(0.11)
    assert [each.value for each in log.read(shard, first.offset + 1, 5)] == [b"b"]


def test_an_iterator_that_has_expired_is_asked_for_again(log: KinesisLog) -> None:
    (shard,) = log.partitions()
    log.append(None, [b"a", b"b"])
    (first,) = read(log, shard, 0, 1)
    log._client = Watched(log._client, busy("ExpiredIteratorException"))
    assert log.read(shard, first.offset + 1, 5) == []
    assert [each.value for each in log.read(shard, first.offset + 1, 5)] == [b"b"]


def test_records_that_retention_took_are_told(client: Any, kinesis: str) -> None:
    """moto keeps all records, so the reader comes from a stream that was longer: the record that it read last is not there."""
    with KinesisLog(made(client), region=REGION, endpoint=kinesis) as log:
        (shard,) = log.partitions()
        log.append(None, [b"a", b"b"])
        with pytest.raises(NotFound, match="no longer has what"):
            log.read(shard, 900, 5)
        log._client = Watched(log._client, busy("InvalidArgumentException", "GetShardIterator"))
        with pytest.raises(NotFound, match="no longer has what"):
            log.read(shard, 2, 5)
        assert [each.value for each in read(log, shard, 2, 5)] == [b"b"], "and the log is of use again"


def test_a_stream_or_server_that_is_not_there_is_told(client: Any, kinesis: str) -> None:
    with KinesisLog("nothing", region=REGION, endpoint=kinesis) as log:
        with pytest.raises(Unavailable, match=r"see the stream.s name"):
            log.partitions()
        with pytest.raises(Unavailable, match="does not answer"):
            log.append(None, [b"x"])
    with (
        KinesisLog("nothing", region=REGION, endpoint="http://127.0.0.1:1") as log,
        pytest.raises(Unavailable, match="does not answer"),
    ):
        log.partitions()


@pytest.mark.slow
def test_a_stream_goes_on_through_shards_that_split_and_merge(client: Any, kinesis: str, tmp_path: Path) -> None:
    name, store = made(client, shards=2), Online()
    given = [row(n, n, amount=n) for n in range(60)]
    for number, part in enumerate((given[:20], given[20:40], given[40:])):
        with KinesisLog(name, region=REGION, endpoint=kinesis) as log:
            log.append(None, [encoded(each) for each in part])
            stream = job(tmp_path, log, store, HOURS)
            drain(stream, 7)
            stream.close()
        opened = [
            each["ShardId"]
            for each in client.list_shards(StreamName=name)["Shards"]
            if "EndingSequenceNumber" not in each["SequenceNumberRange"]
        ]
        if number == 0:
            middle = str(2**126)
            client.split_shard(StreamName=name, ShardToSplit=opened[0], NewStartingHashKey=middle)
        elif number == 1:
            client.merge_shards(StreamName=name, ShardToMerge=opened[-2], AdjacentShardToMerge=opened[-1])
    holds(HOURS, given, store, moment(61))
    assert stream.fates["hours@1", "applied"] == 60 and stream.fates["hours@1", "repeated"] == 0
    assert len(client.list_shards(StreamName=name)["Shards"]) > 2


def killed(client: Any, kinesis: str, folder: Path, point: str, ends: int) -> Any:
    """What a job leaves that is ended so many times when it comes to a point."""
    name, store = made(client, shards=2), Online()
    with KinesisLog(name, region=REGION, endpoint=kinesis) as log:
        for at, shard in enumerate(log.partitions()):
            log.append(shard, script()[at::2])

    def kill() -> None:
        raise Killed

    for after in range(1, ends + 1):
        with KinesisLog(name, region=REGION, endpoint=kinesis) as log:
            stream = job(folder, log, store)
            undo = trap(point, after, kill, store, log)
            try:
                with pytest.raises(Killed):
                    drain(stream, 2)
            finally:
                undo()
            stream._state.close()
            stream._letters.close()
    with (
        KinesisLog(name, region=REGION, endpoint=kinesis) as log,
        contextlib.closing(job(folder, log, store)) as stream,
    ):
        drain(stream, 4)
        return store.all(), stream.fates


@pytest.fixture(scope="module")
def undisturbed(kinesis: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with contextlib.closing(boto3.client("kinesis", region_name=REGION, endpoint_url=kinesis)) as client:
        return killed(client, kinesis, tmp_path_factory.mktemp("undisturbed"), "", 0)


@pytest.mark.parametrize(
    ("point", "ends"),
    [("written", 1), *(pytest.param(each, 3, marks=pytest.mark.slow) for each in POINTS)],
)
def test_an_end_anywhere_between_write_and_commit_leaves_the_same(
    point: str, ends: int, client: Any, kinesis: str, undisturbed: Any, tmp_path: Path
) -> None:
    assert killed(client, kinesis, tmp_path, point, ends) == undisturbed


def test_a_log_is_chosen_by_its_address(kinesis: str) -> None:
    found = log_address.connect(f"kinesis://dev-{{source}}?region={REGION}&endpoint={kinesis}", "orders@1")
    assert isinstance(found, KinesisLog) and found._stream == "dev-orders-v1"
    found.close()
    kafka = log_address.connect("kafka://a:9092,b:9092/dev-{source}?security.protocol=ssl", "orders@1")
    assert (kafka._topic, kafka._configuration) == (  # type: ignore[union-attr]
        "dev-orders-v1",
        {"bootstrap.servers": "a:9092,b:9092", "security.protocol": "ssl"},
    )


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("kinesis://orders?region=eu-central-1", "nowhere {source}"),
        ("kinesis://{source}?zone=a", "'zone' is none of its options"),
        ("kafka://a:9092", "nowhere {source}"),
        ("kafka://user@a:9092/{source}", "one topic"),
        ("pulsar://a/{source}", "no log is called 'pulsar'"),
    ],
)
def test_an_address_that_is_none_is_told_without_its_secrets(address: str, said: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        log_address.connect(address, "orders@1")
    assert said in caught.value.got and "user" not in caught.value.got


@pytest.mark.slow
def test_views_are_kept_up_to_date_from_kinesis(
    client: Any, kinesis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`apply` and `run` need no batch here: others write to the log. What is ingested too counts once."""
    monkeypatch.setattr("hallmark.feature_store.place._QUIET", 0.2)
    made(client, shards=2, name="dev-orders-v1")
    settings = Settings.load(
        {
            **{"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path / "state")},
            "HALLMARK_FEATURE_LOG": f"kinesis://dev-{{source}}?region={REGION}&endpoint={kinesis}",
        }
    )
    for key, value in settings.environment().items():
        monkeypatch.setenv(key, value)
    now = datetime.now(UTC).replace(microsecond=0)
    orders = [
        {
            **{"order_id": f"o{n}", "buyer_id": "anna", "seller_id": "s", "device_id": "d", "ip": "10.0.0.1"},
            **{"payment": "card", "discount": 0.0, "category": "bags", "brand_tier": "luxury", "card_id": f"c{n % 3}"},
            **{"shipping_distance_km": 1.5, "address_changed": False, "express": True, "amount": 10.0},
            **{"ordered_at": now - timedelta(hours=n + 1), "known_at": now - timedelta(hours=n + 1)},
        }
        for n in range(5)
    ]
    with log_address.connect(settings.feature_log, "orders@1") as log:
        log.append(None, [encoded(each) for each in orders[:4]])
    assert main(["features", "apply", "buyer_orders@1"]) == 0
    assert main(["features", "run", "buyer_orders@1"]) == 0
    frame = pd.DataFrame(orders)
    for column in ("ordered_at", "known_at"):
        frame[column] = frame[column].astype("datetime64[us, UTC]")
    frame.to_parquet(tmp_path / "orders.parquet")
    assert main(["features", "ingest", "orders@1", str(tmp_path / "orders.parquet")]) == 0
    assert main(["features", "run", "buyer_orders@1"]) == 0
    capsys.readouterr()
    assert main(["features", "read", "buyer_orders@1", "anna", "-o", "json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["buyer_orders_30d"], found["buyer_cards_90d"]) == (5, 3)
