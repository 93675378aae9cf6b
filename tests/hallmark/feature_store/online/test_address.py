"""Addresses of online stores, and tokens of IAM in place of a password."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from hallmark.errors import DeclarationError, Unavailable
from hallmark.feature_store.online import redis
from hallmark.feature_store.online.address import FORMS, connect, location
from hallmark.feature_store.online.elasticache import Token
from hallmark.feature_store.online.redis import Server


@pytest.mark.parametrize(
    ("url", "got"),
    [
        ("", "no store is called ''"),
        ("online.db", "no store is called ''"),
        ("postgres://host/db", "no store is called 'postgres'"),
        ("sqlite://online.db", "three slashes and a file"),
        ("sqlite:///", "three slashes and a file"),
        ("sqlite:///:memory:", "three slashes and a file"),
        ("sqlite:///a.db?mode=ro", "'mode' is none of its options, which are none"),
        ("redis://", "a host"),
        ("redis:///0", "a host"),
        ("redis://host/zero", "a database that is a number"),
        ("redis://host:port/0", "port"),
        ("redis://host:70000/0", "Port out of range"),
        ("redis://host/0?timeout=5", "'timeout' is none of its options"),
        ("redis://host/0?ca=a.pem", "'ca' is none of its options"),
        ("rediss://host/0?ca=", "each option has one value"),
        ("rediss://host/0?ca=a&ca=b", "each option has one value"),
        ("rediss://user@host/0?iam=group", "with iam and region"),
        ("rediss://host/0?iam=group&region=eu-central-1", "a user without a password"),
        ("rediss://user:word@host/0?iam=group&region=eu-central-1", "a user without a password"),
        ("redis://host/0#1", "nothing follows"),
        ("dynamodb://", "a table after two slashes"),
        ("dynamodb://table/key", "a table after two slashes"),
        ("dynamodb://table?region=eu-central-1&consistent=yes", "consistent is true or false"),
        ("dynamodb://table?zone=a", "'zone' is none of its options, which are consistent, endpoint, region"),
    ],
)
def test_what_is_no_address_is_told(url: str, got: str) -> None:
    with pytest.raises(DeclarationError, match="no address of an online store") as caught:
        connect(url, namespace="fraud")
    assert got in caught.value.got and caught.value.expected == "; ".join(FORMS) and caught.value.fix


def test_an_error_does_not_tell_the_password() -> None:
    for url in ("redis://user:s3cret@host:port/0", "redis://user:s3cret@host/0?x=1", "redis://user:s3cret@host/0#f"):
        with pytest.raises(DeclarationError) as caught:
            connect(url, namespace="fraud")
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("redis://host", Server(host="host")),
        ("valkey://host:6380/3", Server(host="host", port=6380, database=3)),
        ("rediss://u%40x:p%2F%3A@host/", Server(host="host", username="u@x", password="p/:", tls=True)),
        ("redis://:word@host", Server(host="host", password="word")),
        ("valkeys://host?ca=/a%20b.pem", Server(host="host", tls=True, ca="/a b.pem")),
        (
            "rediss://fraud-predictor@host/0?iam=dev-features&region=eu-central-1",
            Server(
                host="host",
                username="fraud-predictor",
                tls=True,
                credentials=Token(user="fraud-predictor", group="dev-features", region="eu-central-1"),
            ),
        ),
    ],
)
def test_a_redis_has_one_meaning(url: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(redis, "RedisStore", lambda found, **_: told.append(found))
    connect(url, namespace="fraud")
    assert told == [server]


@pytest.mark.parametrize(
    ("url", "library"), [("redis://host", "redis"), ("dynamodb://table?region=eu-central-1", "boto3")]
)
def test_a_library_that_is_not_installed_is_told(url: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(Unavailable, match="is not installed") as caught:
        connect(url, namespace="fraud")
    assert library in caught.value.expected and caught.value.fix.startswith(f"pip install {library}")


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    store = connect(f"sqlite:///{tmp_path}/a%20b%3F.db", namespace="fraud", read_seconds=5)
    store.read([])
    list(store.scan("v@1"))
    store.close()
    assert (tmp_path / "a b?.db").is_file()


def test_a_token_is_a_signed_request_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    user, password = Token(user="fraud-predictor", group="dev-features", region="eu-central-1")()
    assert user == "fraud-predictor" and password.startswith("dev-features/?Action=connect&User=fraud-predictor&")
    signed = {name: value for name, (value,) in parse_qs(urlsplit(f"//{password}").query).items()}
    day = f"{datetime.now(UTC):%Y%m%d}"
    assert signed["X-Amz-Credential"] in (f"AKIAEXAMPLE/{day}/eu-central-1/elasticache/aws4_request",)
    assert signed["X-Amz-Expires"] == "900" and signed["X-Amz-SignedHeaders"] == "host"
    assert signed["X-Amz-Security-Token"] == "session" and len(signed["X-Amz-Signature"]) == 64
    other = Token(user="listing-predictor", group="dev-features", region="eu-central-1")()[1]
    assert other.rsplit("=", 1)[1] != signed["X-Amz-Signature"]


def test_one_store_has_one_location_whoever_reads_it_and_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert location("sqlite:///a.db") == location(f"sqlite:///{tmp_path}/a.db") != location("sqlite:///b.db")
    assert location("rediss://anna:secret@host?ca=a.pem") == location("valkey://host:6379/0") == "redis://host/0"
    assert location("redis://host/1") != location("redis://host/0") != location("redis://host:6380/0")
    assert location("dynamodb://table?region=eu-central-1&consistent=false") == "dynamodb://table eu-central-1"
