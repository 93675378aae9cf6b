"""The event log of a source by address: kafka://host/topic-{source}, kinesis://stream-{source}."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from hallmark import extras
from hallmark.errors import DeclarationError

if TYPE_CHECKING:
    from hallmark.feature_store.kafka import KafkaLog
    from hallmark.feature_store.kinesis import KinesisLog

FORMS = (
    "kafka://host:9092,host:9092/topic-{source}?security.protocol=ssl",
    "kinesis://stream-{source}?region=eu-central-1&account=111122223333",
)
"""The addresses that `connect` takes; {source} stands for orders-v1 where the source is orders@1."""


_OPTIONS = {"region", "endpoint", "account"}
"""What may follow kinesis://…; account: of AWS, for Flink alone. All that librdkafka takes may follow kafka://…."""


@dataclass(frozen=True)
class Address:
    """An address, taken apart. kind: kafka or kinesis.   at: Kafka's servers.   name: of the topic or stream."""

    kind: str
    at: str
    name: str
    options: Mapping[str, str]


def parsed(address: str, log: str) -> Address:
    """The address of one log, such as orders@1; `DeclarationError` where it is none."""
    try:
        if "{source}" not in address:
            raise ValueError("it says nowhere {source}: each source has a log of its own")
        kind = address.partition("://")[0]
        parts = urlsplit(address.replace("{source}", log.replace("@", "-v")))
        if kind not in ("kafka", "kinesis"):
            raise ValueError(f"no log is called {kind!r}")
        return _parsed(kind, parts)
    except ValueError as error:
        raise DeclarationError(
            "this is no address of an event log",
            expected="; ".join(FORMS),
            got=f"{address.partition('://')[0]}://…: {error}",
            fix="write it so, with nothing that is not there",
        ) from error


def connect(address: str, log: str) -> KafkaLog | KinesisLog:
    """The log of a source, name@version; no server is asked yet. `DeclarationError` where the address is none,
    `Unavailable` where its library is not installed.
    """
    where = parsed(address, log)
    try:
        if where.kind == "kafka":
            import confluent_kafka  # noqa: F401  a missing library is told now

            from hallmark.feature_store.kafka import KafkaLog

            return KafkaLog({"bootstrap.servers": where.at, **where.options}, where.name)
        from hallmark.feature_store.kinesis import KinesisLog

        return KinesisLog(where.name, region=where.options.get("region"), endpoint=where.options.get("endpoint"))
    except ModuleNotFoundError as error:
        raise extras.not_installed(
            error, what="event log", otherwise="set no address: then logs are files in the state folder"
        ) from error


def _parsed(kind: str, parts: SplitResult) -> Address:
    options = _options(parts)
    path = unquote(parts.path.removeprefix("/"))
    if kind == "kafka":
        if not parts.netloc or "@" in parts.netloc or not path or "/" in path:
            raise ValueError("servers after two slashes, one topic, and options for who signs in")
        return Address(kind, parts.netloc, path, options)
    if not parts.netloc or path:
        raise ValueError("a stream after two slashes, and no path")
    if wrong := set(options) - _OPTIONS:
        raise ValueError(f"{min(wrong)!r} is none of its options, which are {', '.join(sorted(_OPTIONS))}")
    return Address(kind, "", parts.netloc, options)


def _options(parts: SplitResult) -> dict[str, str]:
    pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    if parts.fragment or len(dict(pairs)) < len(pairs) or not all(value for _, value in pairs):
        raise ValueError("each option has one value, and nothing follows them (# is written %23)")
    return dict(pairs)
