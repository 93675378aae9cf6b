"""Redis in particular: one command a read, servers that go, hang and come back, rights, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import uvloop

from hallmark.errors import Unavailable
from hallmark.feature_store.online.address import connect
from hallmark.feature_store.online.keys import Key, entity_key
from hallmark.feature_store.online.redis import BATCH, RedisStore, Server
from hallmark.feature_store.online.store import SLACK, OnlineStore, Row
from tests.hallmark.feature_store.online.conftest import PATIENCE, RedisServer, free_port

ROOT = Path(__file__).parents[4]
SMALL = 2.5
"""Seconds beyond its time that a read may take on a machine that others use; by itself redis-py tries for a minute.
benchmarks/features measures what it takes."""
ROWS = [
    Row(Key(f"view{view}@1", entity_key(number)), number, number, b"x" * 40)
    for number in range(100)
    for view in range(3)
]
KEYS = [each.key for each in ROWS]
Make = Callable[..., OnlineStore]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may end."""
    server = RedisServer(tmp_path)
    yield server
    server.process.send_signal(signal.SIGCONT)
    server.kill()


@pytest.fixture
def admin(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis(port=redis_server.port) as client:
        yield client


def commands(admin: redis.Redis) -> dict[str, int]:
    """Calls by command, without those of this client."""
    found = {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in admin.info("commandstats").items()}
    return {name: calls for name, calls in found.items() if name not in ("info", "config|resetstat")}


def test_three_views_of_a_hundred_entities_are_one_command(make: Make, admin: redis.Redis) -> None:
    store = make("redis")
    store.write(ROWS)
    assert store.read(KEYS) == ROWS
    admin.config_resetstat()
    assert store.read(KEYS) == ROWS
    assert commands(admin) == {"mget": 1}

    async def twice() -> None:
        await store.aread(KEYS)
        admin.config_resetstat()
        assert await store.aread(KEYS) == ROWS
        await store.aclose()

    uvloop.run(twice())
    assert commands(admin) == {"mget": 1}


class Proxy:
    """Passes bytes on to a server, and counts how often the client asks after it was answered."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.rounds = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        import select

        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            answered = True
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    if one is client:
                        self.rounds += answered
                    answered = one is server
                    (server if one is client else client).sendall(data)

    def close(self) -> None:
        self._listener.close()


def test_a_read_is_one_round_trip_and_connecting_none(redis_server: RedisServer) -> None:
    proxy = Proxy(redis_server.port)
    store = connect(
        f"redis://127.0.0.1:{proxy.port}", namespace="rounds", read_seconds=PATIENCE, write_seconds=PATIENCE
    )
    try:
        assert store.read(KEYS) == [None] * len(KEYS)
        assert proxy.rounds == 1
        store.read(KEYS)
        assert proxy.rounds == 2
    finally:
        store.close()
        proxy.close()


def test_a_write_is_a_script_for_each_part_of_the_batch(make: Make, admin: redis.Redis) -> None:
    store = make("redis")
    store.write(ROWS[:1])
    admin.config_resetstat()
    assert store.write(ROWS) == len(ROWS) - 1
    assert commands(admin)["evalsha"] == -(-len(ROWS) // BATCH)
    assert not {"eval", "multi", "watch"} & set(commands(admin))


def test_a_server_that_forgot_the_script_is_told_again(make: Make, admin: redis.Redis) -> None:
    store = make("redis")
    store.write(ROWS[:1])
    admin.script_flush()
    assert store.write(ROWS[:3]) == 2


def test_a_batch_of_large_rows_is_parted(make: Make) -> None:
    store = make("redis")
    rows = [Row(Key("big@1", entity_key(number)), 1, 1, os.urandom(700_000)) for number in range(4)]
    assert store.write(rows) == 4 and store.read([each.key for each in rows]) == rows


def took(call: Callable[[], Any], seconds: float) -> Unavailable:
    """The error of a call, which ends in its time."""
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        call()
    assert time.monotonic() - began < seconds + SMALL
    assert caught.value.expected and caught.value.got and caught.value.fix
    return caught.value


def test_a_server_that_dies_is_told_and_found_again(own: RedisServer) -> None:
    """faults.md, 22."""
    store = connect(own.url, namespace="fraud", read_seconds=2, write_seconds=2)
    store.write(ROWS)
    assert store.read(KEYS) == ROWS

    async def life() -> None:
        assert await store.aread(KEYS) == ROWS
        own.kill()
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(Unavailable, match=r"redis://127.0.0.1:\d+/0 does not answer"):
                await store.aread(KEYS)
            assert time.monotonic() - began < 2 + SMALL
            took(lambda: store.read(KEYS), 2)
            took(lambda: store.write(ROWS), 2)
        own.start()
        assert await store.aread(KEYS) == [None] * len(KEYS), "this server keeps nothing"
        assert store.write(ROWS) == len(ROWS) and store.read(KEYS) == ROWS and await store.aread(KEYS) == ROWS
        await store.aclose()

    asyncio.run(life())


def test_a_server_that_hangs_costs_the_time_given(own: RedisServer) -> None:
    store = connect(own.url, namespace="fraud", write_seconds=0.3)
    fresh = connect(own.url, namespace="fraud", write_seconds=0.3)
    patient = connect(own.url, namespace="fraud", read_seconds=PATIENCE, write_seconds=PATIENCE)
    patient.write(ROWS)

    async def life() -> None:
        await asyncio.gather(*(patient.aread(KEYS) for _ in range(3)), *(ready(store) for _ in range(3)))
        own.process.send_signal(signal.SIGSTOP)
        for one in (store, fresh):
            began = time.monotonic()
            found = await asyncio.gather(*(one.aread(KEYS) for _ in range(80)), return_exceptions=True)
            assert time.monotonic() - began < 0.05 + SMALL
            assert {type(each) for each in found} == {Unavailable}
            took(lambda one=one: one.read(KEYS), 0.05)
            took(lambda one=one: one.write(ROWS), 0.3)
        own.process.send_signal(signal.SIGCONT)
        assert await patient.aread(KEYS[3:]) == ROWS[3:], "no answer that came late is taken for another's"
        for one in (store, fresh):
            while (found := await asyncio.gather(one.aread(KEYS[:2]), return_exceptions=True)) != [ROWS[:2]]:
                assert isinstance(found[0], Unavailable)
        for one in (store, fresh, patient):
            await one.aclose()

    async def ready(one: OnlineStore) -> None:
        try:
            await one.aread(KEYS[:1])
        except Unavailable:
            await ready(one)

    asyncio.run(asyncio.wait_for(life(), 60))


def test_the_time_of_an_awaited_read_is_for_all_of_it() -> None:
    """A server that takes 0.3 s for each step of signing in, choosing the database and answering."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                words = [await reader.readline() for _ in range(2 * int(line[1:]))]
                await asyncio.sleep(0.3)
                writer.write(b"*1\r\n$-1\r\n" if b"MGET" in words[1] else b"+OK\r\n")

    async def life() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            for seconds, answered in ((5.0, True), (0.5, False)):
                store = connect(f"redis://:word@127.0.0.1:{port}/1", namespace="fraud", read_seconds=seconds)
                try:
                    assert await store.aread(KEYS[:1]) == [None] and answered
                except Unavailable:
                    assert not answered
                await store.aclose()

    asyncio.run(life())


def test_a_read_that_is_given_up_leaves_its_answer_to_nobody(redis_server: RedisServer, make: Make) -> None:
    store = make("redis")
    store.write(ROWS)

    async def life() -> None:
        for turn in range(60):
            task = asyncio.ensure_future(store.aread(KEYS))
            for _ in range(turn % 12):
                await asyncio.sleep(0)
            task.cancel()
            wanted = KEYS[turn : turn + 5]
            assert await store.aread(wanted) == ROWS[turn : turn + 5]
        await store.aclose()

    asyncio.run(life())


def test_each_event_loop_has_its_own_connections(make: Make) -> None:
    store = make("redis")
    store.write(ROWS)
    for run in (asyncio.run, uvloop.run, asyncio.run):

        async def many() -> list[list[Row | None]]:
            found = await asyncio.gather(*(store.aread(KEYS[number:]) for number in range(100)))
            await store.aclose()
            return found

        assert run(many()) == [ROWS[number:] for number in range(100)]


def test_a_row_expires_a_day_after_it_is_of_use(make: Make, admin: redis.Redis) -> None:
    store = make("redis", namespace="expires")
    now = datetime.now(UTC)
    event = int(now.timestamp() * 1_000_000)
    keep = timedelta(days=30)
    store.write(
        [Row(Key("v@1", entity_key(1)), event, 1, b""), Row(Key("w@1", entity_key(1)), event, 1, b"")],
        keep={"v@1": keep},
    )
    due = (now + keep + SLACK).timestamp()
    assert abs(admin.pexpiretime("expires/v@1/i1") / 1000 - due) < 0.01
    assert admin.pexpiretime("expires/w@1/i1") == -1
    long_ago = Row(Key("v@1", entity_key(2)), event - 32 * 86_400_000_000, 1, b"")
    store.write([long_ago], keep={"v@1": keep})
    assert store.read([long_ago.key]) == [None]


def terraforms_rights() -> dict[str, str]:
    """Keys and commands of the stream, and of a predictor whose domain names view1, as the modules `features` and `domain` give them."""
    stream = (ROOT / "terraform/modules/features/main.tf").read_text()
    domain = (ROOT / "terraform/modules/domain/main.tf").read_text()
    (writer,) = re.findall(r'access_string = "on ([^"]+)"', stream)
    (reader,) = re.findall(
        r'access_string = "on \$\{join\(" ", \[for row in local.rows : "~\$\{row\}"\]\)\} ([^"]+)"', domain
    )
    (row,) = re.findall(r'rows = \[for view in sort\(var.views\) : "([^"]+)"\]', domain)
    return {"stream": writer, "predictor": f"~{row.replace('${view}', 'view1')} {reader}"}


def test_the_rights_that_terraform_gives_are_enough_and_no_more(redis_server: RedisServer, admin: redis.Redis) -> None:
    """tests/terraform/test_features.py asks the same of everybody."""
    stores = {}
    for account, given in terraforms_rights().items():
        admin.execute_command("ACL", "SETUSER", account, "on", ">secret", *given.split())
        url = redis_server.url.replace("//", f"//{account}:secret@")
        for namespace in ("features", "listing"):
            stores[account, namespace] = connect(
                url, namespace=namespace, read_seconds=PATIENCE, write_seconds=PATIENCE
            )
    admin.script_flush()
    of_view1 = [row for row in ROWS if row.key.view == "view1@1"]
    own = [row.key for row in of_view1]
    stream, predictor = stores["stream", "features"], stores["predictor", "features"]
    try:
        assert stream.write(ROWS, keep={"view0@1": timedelta(days=40_000)}) == len(ROWS)
        assert stream.read(KEYS) == ROWS and predictor.read(own) == of_view1
        assert sum(len(page) for page in stream.scan("view1@1")) == 100
        for ask in (
            lambda: predictor.read(KEYS),
            lambda: predictor.write(of_view1),
            lambda: predictor.erase(entity_key(1), ["view1@1"]),
            lambda: list(predictor.scan("view1@1")),
        ):
            with pytest.raises(Unavailable, match="NoPermissionError"):
                ask()
        for account in ("stream", "predictor"):
            with pytest.raises(Unavailable, match="NoPermissionError") as caught:
                stores[account, "listing"].read(KEYS)
            assert "listing" in caught.value.fix
        assert stream.erase(entity_key(1), ["view1@1"]) == 1
    finally:
        for each in stores.values():
            each.close()


def test_a_wrong_password_is_told_without_it(redis_server: RedisServer) -> None:
    store = connect(redis_server.url.replace("//", "//somebody:s3cret@"), namespace="fraud", read_seconds=PATIENCE)
    with pytest.raises(Unavailable) as caught:
        store.read(KEYS)
    assert "see the user and the password" in caught.value.fix and "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(Server(host="h", password="s3cret"))
    store.close()


def test_each_new_connection_asks_for_credentials(redis_server: RedisServer, admin: redis.Redis) -> None:
    asked: list[str] = []

    def token() -> tuple[str, str]:
        asked.append(f"token{len(asked)}")
        admin.execute_command("ACL", "SETUSER", "tokens", "on", "resetpass", f">{asked[-1]}", "~*", "+@all")
        return "tokens", asked[-1]

    store = RedisStore(
        Server(host="127.0.0.1", port=redis_server.port, credentials=token), namespace="tokens", read_seconds=PATIENCE
    )
    store.read(KEYS)
    store.read(KEYS)
    assert len(asked) == 1
    store.close()
    store.read(KEYS)
    assert len(asked) == 2

    async def once() -> None:
        await store.aread(KEYS)
        await store.aread(KEYS)
        await store.aclose()

    asyncio.run(once())
    assert len(asked) == 3


def test_what_somebody_else_wrote_is_told(make: Make, admin: redis.Redis) -> None:
    store = make("redis", namespace="foreign")
    admin.set("foreign/view0@1/i0", b"short")
    with pytest.raises(Unavailable, match="a row that Hallmark wrote"):
        store.read(KEYS[:1])
    admin.hset("foreign/view0@1/i1", "a", "b")
    assert store.read([Key("view0@1", entity_key(1))]) == [None]
    with pytest.raises(Unavailable, match="WRONGTYPE"):
        store.write([Row(Key("view0@1", entity_key(1)), 1, 1, b"")])


def test_a_full_server_is_told(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--maxmemory", "1")
    store = connect(server.url, namespace="fraud", read_seconds=PATIENCE, write_seconds=PATIENCE)
    try:
        with pytest.raises(Unavailable) as caught:
            store.write(ROWS)
        assert "more memory" in caught.value.fix
    finally:
        store.close()
        server.kill()


def test_a_cluster_is_told(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    store = connect(server.url, namespace="fraud", read_seconds=PATIENCE, write_seconds=PATIENCE)
    try:
        with redis.Redis(port=server.port) as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                time.sleep(0.05)
        for ask in (lambda: store.read(KEYS), lambda: store.write(ROWS)):
            with pytest.raises(Unavailable) as caught:
                ask()
            assert "no cluster" in caught.value.fix
    finally:
        store.close()
        server.kill()


def test_a_replica_takes_no_writes_and_says_so(own: RedisServer) -> None:
    store = connect(own.url, namespace="fraud", read_seconds=PATIENCE, write_seconds=PATIENCE)
    with redis.Redis(port=own.port) as client:
        client.replicaof("127.0.0.1", str(free_port()))
    with pytest.raises(Unavailable) as caught:
        store.write(ROWS)
    assert "name the primary" in caught.value.fix
    store.close()


@contextlib.contextmanager
def certified(folder: Path) -> Iterator[tuple[int, Path, Path]]:
    """A server that speaks TLS alone: its port, the certificate that vouches for it, and one that does not."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def certificate(name: str) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=1))
            .not_valid_after(datetime.now(UTC) + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        path = folder / f"{name}.pem"
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        path.with_suffix(".key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return path

    ours, other, port = certificate("ours"), certificate("other"), free_port()
    files = [
        "--tls-cert-file",
        str(ours),
        "--tls-key-file",
        str(ours.with_suffix(".key")),
        "--tls-ca-cert-file",
        str(ours),
    ]
    server = RedisServer(folder, "--tls-port", str(port), "--tls-auth-clients", "no", *files)
    try:
        yield port, ours, other
    finally:
        server.kill()


def test_tls_trusts_who_is_vouched_for(tmp_path: Path) -> None:
    def store(host: str, query: str) -> OnlineStore:
        return connect(
            f"rediss://{host}:{port}/0{query}", namespace="fraud", read_seconds=PATIENCE, write_seconds=PATIENCE
        )

    with certified(tmp_path) as (port, ours, other):
        good = store("localhost", f"?ca={ours}")
        assert good.write(ROWS) == len(ROWS) and good.read(KEYS) == ROWS

        async def once() -> None:
            assert await good.aread(KEYS) == ROWS
            await good.aclose()

        asyncio.run(once())
        for host, query in (("localhost", f"?ca={other}"), ("localhost", ""), ("127.0.0.1", f"?ca={ours}")):
            bad = store(host, query)
            with pytest.raises(Unavailable, match="certificate"):
                bad.read(KEYS)

            async def refused(bad: OnlineStore = bad) -> None:
                with pytest.raises(Unavailable, match=r"certificate|Certificate"):
                    await bad.aread(KEYS)
                await bad.aclose()

            asyncio.run(refused())
