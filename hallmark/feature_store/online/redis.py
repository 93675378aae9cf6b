"""Online store in Redis or Valkey, one server with or without replicas: a read is one command, whatever it asks for."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

from hallmark.errors import Unavailable
from hallmark.feature_store.online import store
from hallmark.feature_store.online.keys import EntityKey, Key, checked, prefix
from hallmark.feature_store.online.store import Row

BATCH = 200
"""Rows of a script: the server does nothing else while one runs, and readers wait for it."""
BATCH_BYTES = 1 << 20
MOST_CONNECTIONS = 64
"""Connections of an event loop; who finds none free waits, and no longer than for an answer."""
_PAGE = 1000
# Not `value > had`: Lua compares text by the collation of the server's locale, and numbers as doubles.
_WRITE = b"""
local function newer(a, b)
  local length = math.min(#a, #b)
  for at = 1, length, 256 do
    local last = math.min(at + 255, length)
    if string.sub(a, at, last) ~= string.sub(b, at, last) then
      for i = at, last do
        local x, y = string.byte(a, i), string.byte(b, i)
        if x ~= y then return x > y end
      end
    end
  end
  return #a > #b
end
local taken = 0
for i, key in ipairs(KEYS) do
  local value, expires = ARGV[2 * i - 1], ARGV[2 * i]
  local had = redis.call('GET', key)
  if not had or newer(value, had) then
    redis.call('SET', key, value)
    if expires ~= '' then redis.call('PEXPIREAT', key, expires) end
    taken = taken + 1
  end
end
return taken
"""
_DIGEST = hashlib.sha1(_WRITE, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where a Redis or Valkey is, and who asks."""

    host: str
    port: int = 6379
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca: str | None = None
    """File with the certificates that vouch for the server; None: those of this machine."""
    credentials: Callable[[], tuple[str, str]] | None = field(default=None, repr=False)
    """User and password for each new connection, where a password is not for ever."""

    def __str__(self) -> str:
        return f"{'rediss' if self.tls else 'redis'}://{self.host}:{self.port}/{self.database}"


class RedisStore:
    """Rows as strings under namespace/view@1/entity, for which a user of Redis needs `~namespace/*` and few commands (docs/features.md).

    `read` waits `read_seconds` for a connection and as long for the answer; `aread` as long for both. A replica that is promoted may have
    missed the last writes, and a server that is full may evict rows: what is missing is written again from the offline store.
    """

    def __init__(
        self,
        server: Server,
        *,
        namespace: str,
        read_seconds: float = store.READ_SECONDS,
        write_seconds: float = store.WRITE_SECONDS,
    ) -> None:
        """Nothing is connected before the first call."""
        import redis

        self._server = server
        self._namespace = checked(namespace)
        self._read_seconds = read_seconds
        self._write_seconds = write_seconds
        self._reader, self._writer = (self._client(redis, seconds) for seconds in (read_seconds, write_seconds))
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()

    def read(self, keys: Sequence[Key]) -> list[Row | None]:
        """See `OnlineStore`; one MGET."""
        if not keys:
            return []
        with self._answering(self._read_seconds):
            return self._rows(keys, self._reader.execute_command("MGET", *self._names(keys)))

    async def aread(self, keys: Sequence[Key]) -> list[Row | None]:
        """See `OnlineStore`; one MGET."""
        if not keys:
            return []
        client = self._loops.get(asyncio.get_running_loop()) or self._joined()
        with self._answering(self._read_seconds):
            async with asyncio.timeout(self._read_seconds):
                found = await client.execute_command("MGET", *self._names(keys))
            return self._rows(keys, found)

    def write(self, rows: Iterable[Row], *, keep: Mapping[str, timedelta] | None = None) -> int:
        """See `OnlineStore`; a script for each `BATCH` of rows or megabyte."""
        taken, names, arguments, size = 0, list[bytes](), list[bytes | int | str](), 0
        for key, value in store.newest(rows).items():
            if names and (len(names) == BATCH or size + len(value) > BATCH_BYTES):
                taken += self._run(names, arguments)
                names, arguments, size = [], [], 0
            expires = store.droppable(key, value, keep)
            names.append(prefix(self._namespace, key.view) + key.entity)
            arguments += [value, "" if expires is None else expires]
            size += len(value)
        return taken + (self._run(names, arguments) if names else 0)

    def erase(self, entity: EntityKey, views: Iterable[str]) -> int:
        """See `OnlineStore`."""
        names = self._names([Key(view, entity) for view in views])
        with self._answering(self._write_seconds):
            return int(self._writer.execute_command("UNLINK", *names)) if names else 0

    def scrub(self) -> None:
        """See `OnlineStore`; nothing to do: the server's memory and its copies on disk are its own."""

    def scan(self, view: str) -> Iterator[list[Row]]:
        """See `OnlineStore`; a row may come twice, and all that the server holds is looked through, so ask for few views."""
        begin, cursor = prefix(self._namespace, view), 0
        while True:
            with self._answering(self._write_seconds):
                cursor, names = self._writer.execute_command(
                    "SCAN", cursor, "MATCH", begin + b"*", "COUNT", _PAGE, "TYPE", "string"
                )
                keys = [Key(view, EntityKey(name[len(begin) :])) for name in names]
                found = self._rows(keys, self._writer.execute_command("MGET", *names)) if names else []
            if page := [row for row in found if row is not None]:
                yield page
            if int(cursor) == 0:
                return

    def close(self) -> None:
        """See `OnlineStore`."""
        self._reader.connection_pool.disconnect()
        self._writer.connection_pool.disconnect()

    async def aclose(self) -> None:
        """See `OnlineStore`."""
        if client := self._loops.pop(asyncio.get_running_loop(), None):
            await client.connection_pool.disconnect()
            await client.aclose()
        self.close()

    def _names(self, keys: Sequence[Key]) -> list[bytes]:
        namespace = self._namespace
        return [prefix(namespace, key.view) + key.entity for key in keys]

    def _rows(self, keys: Sequence[Key], values: Sequence[bytes | None]) -> list[Row | None]:
        return [None if value is None else store.unpacked(key, value) for key, value in zip(keys, values, strict=True)]

    def _run(self, names: list[bytes], arguments: list[bytes | int | str]) -> int:
        from redis.exceptions import NoScriptError

        with self._answering(self._write_seconds):
            try:
                return int(self._writer.execute_command("EVALSHA", _DIGEST, len(names), *names, *arguments))
            except NoScriptError:  # a server that is new, or was told to forget; EVAL makes it remember
                return int(self._writer.execute_command("EVAL", _WRITE, len(names), *names, *arguments))

    def _client(self, library: Any, seconds: float) -> Any:
        return library.Redis.from_pool(library.ConnectionPool(**self._options(library, seconds)))

    def _joined(self) -> Any:
        """A client of the running event loop."""
        import redis.asyncio

        pool = redis.asyncio.BlockingConnectionPool(
            max_connections=MOST_CONNECTIONS, timeout=None, **self._options(redis.asyncio, self._read_seconds)
        )
        client = redis.asyncio.Redis.from_pool(pool)
        self._loops[asyncio.get_running_loop()] = client
        return client

    def _options(self, library: Any, seconds: float) -> dict[str, Any]:
        """Connections that never retry, since redis-py tries ten times, and whose handshake says no more than who asks."""
        from redis.backoff import NoBackoff

        options: dict[str, Any] = {
            "host": self._server.host,
            "port": self._server.port,
            "db": self._server.database,
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "socket_keepalive": True,
            "protocol": 2,
            "driver_info": None,
            "retry": library.retry.Retry(NoBackoff(), 0),
        }
        if self._server.credentials is not None:
            options["credential_provider"] = _provider(self._server.credentials)
        elif self._server.password is not None:
            options |= {"username": self._server.username, "password": self._server.password}
        if self._server.tls:
            options |= {
                "connection_class": library.SSLConnection,
                "ssl_ca_certs": self._server.ca,
                "ssl_check_hostname": True,
            }
            # Its answer follows the session tickets of TLS 1.3, which hiredis otherwise takes for an answer to nobody's question and fails.
            del options["driver_info"]
        return options

    @contextmanager
    def _answering(self, seconds: float) -> Iterator[None]:
        """What redis-py raises, as `Unavailable`."""
        import redis

        try:
            yield
        except (redis.RedisError, OSError) as error:  # asyncio's TimeoutError is an OSError
            raise self._down(error, seconds) from error

    def _down(self, error: Exception, seconds: float) -> Unavailable:
        from redis import exceptions

        fix = ""
        if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
            fix = "see the user and the password in its address"
        elif isinstance(error, exceptions.NoPermissionError):
            fix = f"give this user its part of {self._namespace}/ and the commands, as docs/features.md has them under Rights: {store.RIGHTS}"
        elif isinstance(error, exceptions.ReadOnlyError):
            fix = "name the primary, not a replica; after a failover the next call finds it"
        elif isinstance(error, exceptions.ClusterCrossSlotError | exceptions.MovedError | exceptions.ClusterDownError):
            fix = "name a Redis or Valkey that is no cluster: one command cannot read from several"
        elif isinstance(error, exceptions.OutOfMemoryError):
            fix = "give it more memory, or let it evict"
        return store.down(str(self._server), seconds, error, fix=fix)


def _provider(credentials: Callable[[], tuple[str, str]]) -> Any:
    from redis.credentials import CredentialProvider

    class Provider(CredentialProvider):
        def get_credentials(self) -> tuple[str, str]:
            return credentials()

        async def get_credentials_async(self) -> tuple[str, str]:
            return await asyncio.to_thread(credentials)

    return Provider()
