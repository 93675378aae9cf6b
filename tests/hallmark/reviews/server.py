"""A PostgreSQL server of its own on a free port of this machine, in a temporary folder; Debian's programs, as its own account where we are root."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ACCOUNT = "postgres"
USER = "hallmark"


def program(name: str) -> str:
    """Where one of PostgreSQL's programs is: Debian puts them beside the path; empty where it is not."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(beside[-1]) if beside else "")


def missing() -> str:
    """Why there can be none here; empty where it can."""
    if not program("initdb") or not program("postgres"):
        return "PostgreSQL is not installed (apt-get install postgresql)"
    with contextlib.suppress(ModuleNotFoundError):
        import psycopg2  # noqa: F401

        return ""
    return "psycopg2 is not installed (pip install 'hallmark[reviews]')"


@contextmanager
def postgres(*, durable: bool = False) -> Iterator[str]:
    """Its address, up to the name of a database.   durable: what is committed is on the disk."""
    folder = Path(tempfile.mkdtemp(prefix="hallmark-postgres-"))
    account = _ACCOUNT if os.geteuid() == 0 else None
    try:
        if account:
            shutil.chown(folder, account)
        given = {"cwd": folder, "user": account, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        data = folder / "data"
        made = [
            "initdb",
            "--pgdata",
            str(data),
            "--username",
            USER,
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run(made, check=True, **given)  # type: ignore[call-overload]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "on" if durable else "off",
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        process = subprocess.Popen([program("postgres"), "-D", str(data), *words], **given)  # type: ignore[call-overload]
        try:
            _wait(port, process)
            yield f"postgresql://{USER}@127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    import psycopg2

    until = time.monotonic() + 30
    while True:
        try:
            psycopg2.connect(f"postgresql://{USER}@127.0.0.1:{port}/postgres").close()
            return
        except psycopg2.OperationalError:
            assert time.monotonic() < until and process.poll() is None, "PostgreSQL does not start"
            time.sleep(0.05)


def created(server: str, name: str) -> str:
    """The address of a new database of this name."""
    import psycopg2

    connection = psycopg2.connect(f"{server}/postgres")
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    return f"{server}/{name}"
