"""Who reads and writes features: every role against every row, stream and batch, by the policies that production would have.

DynamoDB, S3 and Kinesis by the planned policies' own statements and conditions (tests/terraform/iam.py); Valkey by a real redis-server that is handed the
planned access strings, asked with our own store's commands.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark.errors import Unavailable
from hallmark.feature_store.online.address import connect
from hallmark.feature_store.online.keys import SHARED, Key, entity_key, prefix
from hallmark.feature_store.online.store import Row
from tests.hallmark.feature_store.online.conftest import RedisServer
from tests.terraform.emulator import Emulator
from tests.terraform.iam import allowed
from tests.terraform.workplace import Workplace

NAME, ACCOUNT, REGION = "hallmark-production", "333333333333", "eu-central-1"
TABLE = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{NAME}-features"
BUCKET = f"arn:aws:s3:::{NAME}-artifacts"
FOUNDATION = {
    "cluster": NAME,
    "artifacts": {"bucket": f"{NAME}-artifacts", "key_arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/a"},
    "online_store": {
        "table_arn": TABLE,
        "valkey_arn": f"arn:aws:elasticache:{REGION}:{ACCOUNT}:replicationgroup:{NAME}-features",
        "valkey_user_group": NAME,
        "key_arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/b",
    },
}
READS = {"fraud": ("buyer_orders", "device"), "search": ("clicks",)}
"""Names of views, by domain; all others name none."""
VIEWS = ("buyer_orders@1", "buyer_orders@2", "device@1", "clicks@10", "buyer_orders_2@1")
SOURCES = {"buyer_orders": "orders", "device": "orders", "clicks": "clicks", "buyer_orders_2": "returns"}
STREAM = "features-stream"
FLINK = "features-flink"


@dataclass(frozen=True)
class Planned:
    """Policies by role, such as fraud-predictor and features-stream; and access strings by user of Valkey."""

    policies: dict[str, list[dict[str, Any]]]
    users: dict[str, str]
    streams: set[str]
    domains: list[str]

    def may(self, role: str, action: str, resource: str, **context: Sequence[str]) -> bool:
        named = {"keys": "dynamodb:LeadingKeys", "prefix": "s3:prefix"}
        return allowed(self.policies[role], action, resource, {named[key]: value for key, value in context.items()})


def declare(folder: Path) -> None:
    """Views of three sources in this copy, and domains that read them."""
    shutil.rmtree(folder / "features")
    for view in VIEWS:
        name, version = view.split("@")
        target = folder / "features" / name
        target.mkdir(parents=True, exist_ok=True)
        (target / f"v{version}.yaml").write_text(f"name: {name}\nversion: {version}\nsource: {SOURCES[name]}@1\n")
    for path in folder.glob("domains/*/domain.yaml"):
        declared = yaml.safe_load(path.read_text())
        declared.pop("features", None)
        if views := READS.get(path.parent.name):
            declared["features"] = {
                "views": [each for each in ("buyer_orders@2", "device@1", "clicks@10") if each.split("@")[0] in views]
            }
        path.write_text(yaml.safe_dump(declared))


@pytest.fixture(scope="module")
def planned(terraform: str, emulators: Callable[[str], Emulator], tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """The domains of production, on the names that its foundation would have written."""
    moto = emulators(ACCOUNT)
    moto.client("ssm").put_parameter(Name=f"/{NAME}/foundation", Value=json.dumps(FOUNDATION), Type="String")
    place = Workplace(tmp_path_factory.mktemp("features"), environment=moto.environment)
    declare(place.folder)
    (place.code / "domains" / "local_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    place.init("domains")
    values_ = ("-var-file", "../environments/production/domains.tfvars", "-var", "flink=true")
    key = "-target=module.features.aws_kms_key.events"  # its policy names the key
    place.run("apply", "-input=false", "-no-color", "-auto-approve", key, *values_, at="domains")
    plan = place.plan("domains", *values_)
    policies: dict[str, list[dict[str, Any]]] = {}
    users, streams = {}, set()
    for change in plan["resource_changes"]:
        address, values = change["address"], change["change"]["after"]
        if change["type"] == "aws_iam_role_policy":
            ours = FLINK if ".flink[" in address else STREAM
            role = ours if address.startswith("module.features") else "-".join(address.split('"')[1::2])
            assert "policy" in values, f"{address} names what is not made yet"
            policies.setdefault(role, []).append(json.loads(values["policy"]))
        elif change["type"] == "aws_elasticache_user":
            users[values["user_name"]] = values["access_string"]
        elif change["type"] == "aws_kinesis_stream":
            streams.add(values["name"])
    return Planned(
        policies, users, streams, sorted(path.parent.name for path in place.folder.glob("domains/*/domain.yaml"))
    )


def roles(planned: Planned) -> list[str]:
    found = [f"{domain}-{account}" for domain in planned.domains for account in ("pipeline", "predictor")]
    found += [STREAM, FLINK, *(f"{domain}-parity" for domain in READS)]
    assert len(found) >= 17 and set(found) == set(planned.policies)
    return found


def row(view: str, shard: int = 7) -> str:
    """The part of a row's key that DynamoDB shows to IAM."""
    return f"{prefix(SHARED, view).decode()}{shard}"


def reads(role: str, view: str) -> bool:
    """Should this role read a view's rows?"""
    domain, _, account = role.rpartition("-")
    return role == STREAM or (account in ("parity", "predictor") and view.split("@")[0] in READS.get(domain, ()))


def test_in_dynamodb_a_predictor_reads_rows_of_its_views_and_the_stream_writes_them(planned: Planned) -> None:
    asked = 0
    for role in roles(planned):
        for view in VIEWS:
            key = [row(view)]
            assert planned.may(role, "dynamodb:BatchGetItem", TABLE, keys=key) == reads(role, view), (role, view)
            for action in ("PutItem", "DeleteItem", "Query"):
                assert planned.may(role, f"dynamodb:{action}", TABLE, keys=key) == (role == STREAM), (role, action)
            for action in ("UpdateItem", "BatchWriteItem", "Scan", "GetItem", "DeleteTable"):
                assert not planned.may(role, f"dynamodb:{action}", TABLE, keys=key), (role, action)
            asked += 9
        for stray in ("fraud/own@1/7", "features", "feature/x@1/7", "features2/x@1/7"):
            for action in ("BatchGetItem", "PutItem"):
                assert not planned.may(role, f"dynamodb:{action}", TABLE, keys=[stray]), (role, stray)
        assert not planned.may(role, "dynamodb:BatchGetItem", TABLE), "a request that shows no key"
    assert asked == 9 * len(VIEWS) * len(roles(planned))


def test_one_read_of_all_views_passes_and_one_foreign_key_among_them_does_not(planned: Planned) -> None:
    own = [row("buyer_orders@1", 3), row("buyer_orders@2"), row("device@1")]
    assert planned.may("fraud-predictor", "dynamodb:BatchGetItem", TABLE, keys=own)
    assert not planned.may("fraud-predictor", "dynamodb:BatchGetItem", TABLE, keys=[*own, row("clicks@10")])
    assert not planned.may("fraud-predictor", "dynamodb:BatchGetItem", TABLE, keys=[*own, row("buyer_orders_2@1")])


def test_trainings_read_the_events_of_their_views_and_the_stream_writes_them(planned: Planned) -> None:
    for role in roles(planned):
        domain, _, account = role.rpartition("-")
        own = {SOURCES[view] for view in READS.get(domain, ())} if account in ("parity", "pipeline") else set()
        for source in ("orders", "orders_2", "clicks", "returns"):
            object_ = f"{BUCKET}/features/offline/{source}@1/manifest.json"
            wanted = role == STREAM or source in own
            assert planned.may(role, "s3:GetObject", object_) == wanted, (role, source)
            inside = planned.may(role, "s3:ListBucket", BUCKET, prefix=[f"features/offline/{source}@1/"])
            assert inside == wanted, (role, source)
            for action in ("s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"):
                assert planned.may(role, action, object_) == (role == STREAM), (role, action)
            old = planned.may(role, "s3:ListBucketVersions", BUCKET, prefix=[f"features/offline/{source}@1/"])
            assert old == (role == STREAM), (role, source)
        erased = f"{BUCKET}/features/offline/erasures/2026.json"
        assert planned.may(role, "s3:GetObject", erased) == (role == STREAM or account == "parity"), role
        assert planned.may(role, "s3:PutObject", erased) == (role == STREAM), role
        letter = f"{BUCKET}/features/dead-letters/buyer_orders@1/1.jsonl"
        assert planned.may(role, "s3:PutObject", letter) == (role == STREAM)
        assert not planned.may(role, "s3:GetObject", letter)
        assert not planned.may(role, "s3:ListBucket", BUCKET, prefix=["features/"])
        assert not planned.may(role, "s3:GetObject", f"{BUCKET}/features/offline/orders@1/../../../fraud/models/1/x")
    for key in ("fraud/models/1/model.onnx", "fraud/pipelines/x", "features/x"):
        assert not planned.may(STREAM, "s3:GetObject", f"{BUCKET}/{key}")


def test_who_reads_events_and_tiles_and_nobody_of_ours_sends_events(planned: Planned) -> None:
    """Flink reads events and writes tiles; the stream reads both; nobody else sees one."""
    events = {f"{NAME}-events-{source}-v1" for source in set(SOURCES.values())}
    tiles = {f"{NAME}-events-{log.replace('@', '-v')}" for log in (f"{view}-tiles" for view in VIEWS)}
    assert planned.streams == events | tiles
    for role in roles(planned):
        for name in planned.streams:
            arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}"
            for action in ("GetRecords", "GetShardIterator", "ListShards"):
                wanted = role == STREAM or (role == FLINK and name in events)
                assert planned.may(role, f"kinesis:{action}", arn) == wanted, (role, action)
            assert planned.may(role, "kinesis:PutRecords", arn) == (role == FLINK and name in tiles), (role, name)
            for action in ("PutRecord", "DeleteStream", "RegisterStreamConsumer"):
                assert not planned.may(role, f"kinesis:{action}", arn), (role, action)


def test_flinks_state_is_its_own(planned: Planned) -> None:
    for role in roles(planned):
        for action in ("GetObject", "PutObject", "DeleteObject"):
            state = f"{BUCKET}/features/flink/buyer-orders-v1/checkpoints/7/_metadata"
            assert planned.may(role, f"s3:{action}", state) == (role == FLINK), role
        listed = planned.may(role, "s3:ListBucket", BUCKET, prefix=["features/flink/buyer-orders-v1/"])
        assert listed == (role == FLINK), role
    assert not planned.may(FLINK, "s3:GetObject", f"{BUCKET}/features/flink/../offline/orders@1/manifest.json")


@pytest.fixture(scope="module")
def valkey(planned: Planned, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real server with the users that ElastiCache would have, who sign in by a password here."""
    import redis

    server = RedisServer(tmp_path_factory.mktemp("valkey"))
    with redis.Redis(port=server.port) as admin:
        for user, access in planned.users.items():
            admin.execute_command("ACL", "SETUSER", user, *access.split(), ">secret")
    yield server
    server.kill()


def test_in_valkey_too(planned: Planned, valkey: RedisServer) -> None:
    readers = {f"{domain}-{account}" for domain in READS for account in ("parity", "predictor")}
    assert set(planned.users) == {STREAM, *readers}, "who reads no view is no user"
    for user in planned.users:
        store = connect(f"redis://{user}:secret@127.0.0.1:{valkey.port}/0", namespace=SHARED, read_seconds=5)
        for view in VIEWS:
            key = Key(view, entity_key("m1"))

            def read(of: Any = store, key: Key = key) -> object:
                return of.read([key])

            def write(of: Any = store, key: Key = key) -> object:
                return of.write([Row(key, 1, 1, b"x")])

            def erase(of: Any = store, key: Key = key) -> object:
                return of.erase(key.entity, [key.view])

            assert passes(read) == reads(user, view), (user, view)
            assert (
                passes(write)
                == passes(erase)
                == passes(lambda of=store, view=view: list(of.scan(view)))
                == (user == STREAM)
            )
        own = connect(f"redis://{user}:secret@127.0.0.1:{valkey.port}/0", namespace="fraud", read_seconds=5)
        assert not passes(lambda of=own: of.read([Key("own@1", entity_key("m1"))]))
        assert not passes(lambda of=own: of.write([Row(Key("own@1", entity_key("m1")), 1, 1, b"x")]))
        for command in (
            ("KEYS", "*"),
            ("FLUSHALL",),
            ("CONFIG", "GET", "*"),
            ("ACL", "LIST"),
            ("SUBSCRIBE", "x"),
            ("CLIENT", "LIST"),
        ):
            assert refused(valkey, user, *command), (user, command)
        store.close()
        own.close()


def passes(call: Callable[[], object]) -> bool:
    """Did the store let it?"""
    try:
        call()
    except Unavailable as error:
        assert "NoPermission" in error.got, error.got
        return False
    return True


def refused(server: RedisServer, user: str, *command: str) -> bool:
    import redis

    client = redis.Redis(port=server.port, username=user, password="secret")
    try:
        client.execute_command(*command)
    except redis.exceptions.NoPermissionError:
        return True
    finally:
        client.close()
    return False


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("features/buyer_orders@*", "features/buyer_orders*", "buyer_orders_2@1"),
        ("features/buyer_orders@*", "features/*", "clicks@10"),
        ("dynamodb:LeadingKeys", "dynamodb:Attributes", "clicks@10"),
    ],
)
def test_a_planted_fault_is_seen(planned: Planned, before: str, after: str, found: str) -> None:
    spoilt = json.loads(json.dumps(planned.policies["fraud-predictor"]).replace(before, after))
    if after == "dynamodb:Attributes":
        spoilt = json.loads(json.dumps(spoilt).replace('"false"', '"true"'))
    assert allowed(spoilt, "dynamodb:BatchGetItem", TABLE, {"dynamodb:LeadingKeys": [row(found)]})
    assert not planned.may("fraud-predictor", "dynamodb:BatchGetItem", TABLE, keys=[row(found)])


def test_a_view_that_nobody_declared_is_refused(
    planned: Planned, emulators: Callable[[str], Emulator], tmp_path: Path
) -> None:
    moto = emulators(ACCOUNT)
    moto.client("ssm").put_parameter(Name=f"/{NAME}/foundation", Value=json.dumps(FOUNDATION), Type="String")
    place = Workplace(tmp_path / "unknown", environment=moto.environment)
    declare(place.folder)
    path = place.folder / "domains" / "fraud" / "domain.yaml"
    path.write_text(path.read_text().replace("device@1", "device@3"))
    (place.code / "domains" / "local_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    place.init("domains")
    done = place.run(
        "plan",
        "-input=false",
        "-no-color",
        "-var-file",
        "../environments/production/domains.tfvars",
        at="domains",
        accept=(1,),
    )
    assert "there is no device@3" in " ".join(done.stderr.replace("│", " ").split())
