#!/usr/bin/env bash
# redis-py with hiredis fails on a TLS 1.3 connection that says nothing at connecting: "Connection not ready". A pool looks whether a fresh
# connection has bytes to read before a command is sent; the server's session tickets are such bytes, and hiredis' parser takes them for
# an answer. With the default `driver_info`, CLIENT SETINFO is asked first and its answer is read behind the tickets; without hiredis there is no failure.
# Versions: redis 8.1.0, hiredis 3.5.0.
# Why it matters: who leaves SETINFO out, to save round trips of a read that has 50 ms or because an ACL forbids it, loses reads over TLS
# as soon as hiredis is installed beside, which redis-py then takes by itself; it passes every test without TLS.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 hiredis==3.5.0 trustme==1.2.1
cat > "$folder/tickets.py" <<'PY'
import os
import socket
import ssl
import threading
from collections import Counter

import redis
import trustme
from redis.backoff import NoBackoff
from redis.connection import DefaultParser
from redis.retry import Retry

authority = trustme.CA()
authority.cert_pem.write_to_path("ca.pem")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
authority.issue_cert("localhost").configure_cert(context)


def serve(connection):
    """What a server of Redis does with GET and CLIENT SETINFO: one answer a command."""
    with context.wrap_socket(connection, server_side=True) as stream:
        while data := stream.recv(65536):
            stream.sendall(b"+OK\r\n" * data.count(b"SETINFO") + b"$-1\r\n" * data.count(b"GET"))


def accept(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=accept, args=(listener,), daemon=True).start()


def tried(**options):
    found = Counter()
    for _ in range(60):
        client = redis.Redis(
            host="localhost", port=listener.getsockname()[1], protocol=2, ssl=True, ssl_ca_certs="ca.pem",
            retry=Retry(NoBackoff(), 0), **options,
        )
        try:
            client.get("key")
            found["answered"] += 1
        except redis.ConnectionError as error:
            found[str(error)] += 1
        client.close()
    return dict(found)


print("redis", redis.__version__, "parser", DefaultParser.__name__)
default, silent = tried(), tried(driver_info=None)
print("60 connections that ask CLIENT SETINFO first:", default)
print("60 connections with driver_info=None:        ", silent)
assert default == {"answered": 60} and silent.get("Connection not ready", 0) > 0, "the finding has changed"
PY
cd "$folder" && "$folder/venv/bin/python" "$folder/tickets.py"
