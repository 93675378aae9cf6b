"""An online store by its address: sqlite:///file, redis://host, rediss://host, dynamodb://table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from hallmark import extras
from hallmark.errors import DeclarationError
from hallmark.feature_store.online import store
from hallmark.feature_store.online.store import OnlineStore

if TYPE_CHECKING:
    from hallmark.feature_store.online.redis import Server

FORMS = (
    "sqlite:///file.db (sqlite:////folder/file.db from the root)",
    "redis://user:password@host:6379/0 or valkey://…, with TLS rediss:// or valkeys://",
    "dynamodb://table?region=eu-central-1",
)
"""The addresses that `connect` takes."""
_REDIS = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_OPTIONS = {
    "sqlite": set[str](),
    "dynamodb": {"region", "endpoint", "consistent"},
    "redis": set[str](),
    "valkey": set[str](),
    "rediss": {"ca", "iam", "region"},
    "valkeys": {"ca", "iam", "region"},
}
"""ca: file with the certificates that vouch for the server. iam: the replication group of ElastiCache that the user signs in to."""


class _Limits(TypedDict):
    namespace: str
    read_seconds: float
    write_seconds: float


def connect(
    url: str, *, namespace: str, read_seconds: float = store.READ_SECONDS, write_seconds: float = store.WRITE_SECONDS
) -> OnlineStore:
    """The store at an address, for a domain; no server is asked yet. `DeclarationError` where the address is none,
    `Unavailable` where its library is not installed.

    Signs of a user or password that mean something in an address are written as %40 and the like.
    """
    limits = _Limits(namespace=namespace, read_seconds=read_seconds, write_seconds=write_seconds)
    try:
        parts = urlsplit(url)
        options = _options(parts)
        if parts.scheme == "sqlite":
            return _sqlite(parts, limits)
        return _redis(parts, options, limits) if parts.scheme in _REDIS else _dynamodb(parts, options, limits)
    except ValueError as error:
        raise DeclarationError(
            "this is no address of an online store",
            expected="; ".join(FORMS),
            got=f"{parts.scheme}://…: {error}" if (scheme := url.partition("://"))[1] else f"{scheme[0]!r}: {error}",
            fix="write it so, with nothing that is not there",
        ) from error
    except ModuleNotFoundError as error:
        raise extras.not_installed(error, what="online store", otherwise="take sqlite:///file.db") from error


def location(url: str) -> str:
    """Where the store at an address is, with nothing of who reads it and how: no user, no password."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return f"sqlite:///{Path(unquote(parts.path.removeprefix('/'))).resolve()}"
    if parts.scheme in _REDIS:
        host = parts.netloc.rpartition("@")[2].removesuffix(":6379")
        return f"redis://{host}/{parts.path.removeprefix('/') or 0}"
    options = dict(parse_qsl(parts.query))
    return f"dynamodb://{parts.netloc} {options.get('region', '')} {options.get('endpoint', '')}".rstrip()


def _options(parts: SplitResult) -> Mapping[str, str]:
    if parts.scheme not in _OPTIONS:
        raise ValueError(f"no store is called {parts.scheme!r}")
    pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    known = _OPTIONS[parts.scheme]
    if wrong := [name for name, _ in pairs if name not in known]:
        raise ValueError(f"{wrong[0]!r} is none of its options, which are {', '.join(sorted(known)) or 'none'}")
    if parts.fragment or len(dict(pairs)) < len(pairs) or not all(value for _, value in pairs):
        raise ValueError("each option has one value, and nothing follows them (# is written %23)")
    return dict(pairs)


def _sqlite(parts: SplitResult, limits: _Limits) -> OnlineStore:
    from hallmark.feature_store.online.sqlite import SQLiteStore

    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or not path or path == ":memory:":
        raise ValueError("three slashes and a file")
    return SQLiteStore(Path(path), **limits)


def _redis(parts: SplitResult, options: Mapping[str, str], limits: _Limits) -> OnlineStore:
    from hallmark.feature_store.online.redis import RedisStore

    return RedisStore(_server(parts, options), **limits)


def _server(parts: SplitResult, options: Mapping[str, str]) -> Server:
    from hallmark.feature_store.online.redis import Server

    database = parts.path.removeprefix("/") or "0"
    if not parts.hostname or not database.isdecimal():
        raise ValueError("a host, and a database that is a number, if any")
    user, password = (unquote(each) if each else None for each in (parts.username, parts.password))
    credentials = None
    if "iam" in options or "region" in options:
        from hallmark.feature_store.online.elasticache import Token

        if not user or password or not {"iam", "region"} <= set(options):
            raise ValueError("who signs in by IAM is a user without a password, with iam and region")
        credentials = Token(user=user, group=options["iam"], region=options["region"])
    return Server(
        host=parts.hostname,
        port=parts.port or 6379,
        database=int(database),
        username=user,
        password=password,
        tls=_REDIS[parts.scheme],
        ca=options.get("ca"),
        credentials=credentials,
    )


def _dynamodb(parts: SplitResult, options: Mapping[str, str], limits: _Limits) -> OnlineStore:
    from hallmark.feature_store.online.dynamodb import DynamoDBStore

    if not parts.netloc or parts.path.strip("/"):
        raise ValueError("a table after two slashes, and no path")
    if options.get("consistent", "true") not in ("true", "false"):
        raise ValueError("consistent is true or false")
    return DynamoDBStore(
        parts.netloc,
        region=options.get("region"),
        endpoint=options.get("endpoint"),
        consistent=options.get("consistent") == "true",
        **limits,
    )
