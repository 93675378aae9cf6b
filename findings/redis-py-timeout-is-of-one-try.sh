#!/usr/bin/env bash
# redis-py with socket_timeout=0.05 waits seconds for a server that hangs: each call is tried eleven times, with pauses of up to a second
# between. A connection that is refused takes as long. `retry=Retry(NoBackoff(), 0)` makes the timeout what it says.
# Versions: redis 8.1.0.
# Why it matters: who bounds a read of a cache or a feature store by 50 ms has bounded nothing, and learns so when the store is down.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0
cat > "$folder/hang.py" <<'PY'
import socket
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

tries = []


def took(port, **options):
    client = redis.Redis(port=port, protocol=2, socket_timeout=0.05, socket_connect_timeout=0.05, **options)
    began = time.monotonic()
    try:
        client.get("key")
    except redis.ConnectionError as error:  # TimeoutError is none of it
        kind = type(error).__name__
    except redis.TimeoutError as error:
        kind = type(error).__name__
    return time.monotonic() - began, kind


silent = socket.create_server(("127.0.0.1", 0), backlog=64)
port = silent.getsockname()[1]
with socket.create_server(("127.0.0.1", 0)) as free:
    closed = free.getsockname()[1]
print("redis", redis.__version__)
for name, where in (("a server that hangs", port), ("a connection refused", closed)):
    default, kind = took(where)
    once, _ = took(where, retry=Retry(NoBackoff(), 0))
    print(f"{name}, 50 ms: {default:.1f} s by default ({kind}), {once:.2f} s with no retry", flush=True)
    assert default > 0.5 > once, "the finding has changed"
PY
"$folder/venv/bin/python" "$folder/hang.py"
