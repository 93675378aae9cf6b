"""The local cluster: the Kubernetes API, the reconciler and the gateway in one supervised process.

`up` starts it in the background and waits for it, `down` stops it and waits, `run` is the process itself. A lock on a file shows
whether it runs, so that a process that was killed is never taken for one that lives.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hallmark import leash
from hallmark.declaration.traffic import BUILDS, LOCAL, TrafficAdapter
from hallmark.errors import Conflict, DeclarationError, HallmarkError, TimedOut, Unavailable
from hallmark.files import replace
from hallmark.settings import Settings
from local_cluster.containers import free_ports
from local_cluster.processes import LOG_BYTES, Leash, tail

if TYPE_CHECKING:
    from local_cluster.access import ApiAccess

PORT = 8080
_ERROR = "error.json"
_LOG = logging.getLogger(__name__)


class ClusterState(BaseModel):
    """A cluster that runs: its process, its gateway, its API and Envoy's admin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    identity: str
    port: int
    api_port: int
    admin: str
    started: str

    @property
    def gateway(self) -> str:
        """Base URL of the services."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> str:
        """Base URL of the Kubernetes API."""
        return f"https://127.0.0.1:{self.api_port}"


def state(settings: Settings) -> ClusterState | None:
    """The cluster that runs on these settings; none when none does."""
    if not _locked(settings.cluster):
        return None
    try:
        found = ClusterState.model_validate_json((settings.cluster_state).read_bytes())
    except (OSError, ValidationError):
        return None
    return found if leash.identity(found.pid) == found.identity else None


def up(
    settings: Settings, *, port: int = PORT, api_port: int = 0, timeout: float = 60.0, adapter: TrafficAdapter = LOCAL
) -> ClusterState:
    """Start the cluster in the background and wait until it serves; `Conflict` when it runs already.

    port: of the gateway, 0 for any free one;  api_port: of the Kubernetes API, 0 for the one it had last, or any free one.
    """
    _refuse_second(settings)
    port = port or _free_port()
    _check_free(port, "--port")
    if api_port:
        _check_free(api_port, "--api-port")
    folder = settings.cluster
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (settings.cluster_state, folder / _ERROR):
        stale.unlink(missing_ok=True)
    log = folder / "cluster.log"
    if log.is_file() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_name("cluster.log.1"))
    command = [sys.executable, "-m", "local_cluster.cluster", f"--port={port}", f"--api-port={api_port}"]
    command.append(f"--adapter={adapter.build}")
    with log.open("ab") as stream:
        child = subprocess.Popen(
            command,
            cwd=settings.root,
            env={**os.environ, **settings.environment()},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return _wait_until_up(settings, child, log, timeout)
    except KeyboardInterrupt:
        child.terminate()
        child.wait(timeout)
        raise


def down(settings: Settings, *, timeout: float = 60.0) -> bool:
    """Stop the cluster and everything it runs, and wait; whether there was one."""
    running = state(settings)
    if running is None:
        leash.end(_leftovers(settings))
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not leash.alive([(running.pid, running.identity), *_leftovers(settings)]):
            return True
        time.sleep(0.05)
    if leash.identity(running.pid) == running.identity:
        os.kill(running.pid, signal.SIGKILL)
        time.sleep(leash.GRACE_SECONDS + 1)
    leash.end(_leftovers(settings))
    raise TimedOut(
        f"the cluster did not stop within {timeout:.0f} s and was killed",
        fix=f"read {settings.cluster / 'cluster.log'}",
    )


def run(settings: Settings, *, port: int = PORT, api_port: int = 0, adapter: TrafficAdapter = LOCAL) -> None:
    """Be the cluster, in the foreground, until SIGTERM or SIGINT."""
    settings.cluster.mkdir(parents=True, exist_ok=True)
    port = port or free_ports([PORT])[PORT]
    with _lock(settings.cluster):
        asyncio.run(_serve(settings, port=port, api_port=api_port, adapter=adapter))


async def _serve(settings: Settings, *, port: int, api_port: int, adapter: TrafficAdapter) -> None:
    from local_cluster import api, kubeconfig
    from local_cluster.access import ApiAccess
    from local_cluster.envoy import Envoy
    from local_cluster.reconciler import Reconciler
    from local_cluster.store import ObjectStore

    folder = settings.cluster
    settings.cluster_state.unlink(missing_ok=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    held = Leash(folder / "processes.json")
    leftovers = held.open()
    if leftovers:
        _LOG.warning("stopped %d processes that an earlier cluster left behind", leftovers)
    _check_free(port, "--port")
    listener = _listen(folder, api_port)
    store = ObjectStore(folder / "objects.db")
    envoy = Envoy(folder / "envoy", port=port, on=held)
    settings.models.mkdir(parents=True, exist_ok=True)
    reconciler = Reconciler(
        store, envoy=envoy, on=held, models=settings.models, folder=folder, root=settings.root, adapter=adapter
    )
    access = ApiAccess.open(folder / "access")
    served = api.app(store, pods=reconciler, token=access.token.get_secret_value(), adapter=adapter)
    server = _server(served, access)
    tasks: list[asyncio.Task[Any]] = []
    try:
        await envoy.start()
        await reconciler.start()
        tasks.append(asyncio.create_task(server.serve(sockets=[listener])))
        while not server.started:
            if tasks[0].done():
                tasks[0].result()
                raise Unavailable("the Kubernetes API did not start", fix="read the lines above")
            await asyncio.sleep(0.01)
        here = listener.getsockname()[1]
        kubeconfig.write(settings.kubeconfig, server=f"https://127.0.0.1:{here}", access=access)
        replace(settings.cluster_state, _state(port, here, envoy.admin).model_dump_json())
        await stop.wait()
    finally:
        settings.cluster_state.unlink(missing_ok=True)
        store.end_watches()
        server.should_exit = True
        await asyncio.gather(*tasks, return_exceptions=True)
        await reconciler.halt()
        await envoy.stop()
        await reconciler.stop()
        store.close()
        listener.close()
        held.close()


def _server(app: Any, access: ApiAccess) -> Any:
    import uvicorn

    class Server(uvicorn.Server):
        """uvicorn without its signal handlers: the cluster has its own."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        ssl_certfile=str(access.certificate),
        ssl_keyfile=str(access.key),
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
        ws="none",
    )
    return Server(config)


def _state(port: int, api_port: int, admin: str) -> ClusterState:
    from local_cluster.supervisor import now

    pid = os.getpid()
    return ClusterState(
        pid=pid, identity=leash.identity(pid) or "", port=port, api_port=api_port, admin=admin, started=now()
    )


def _listen(folder: Path, api_port: int) -> socket.socket:
    """The API's socket: on the port asked for, else on the one it had last, so that a kubeconfig stays true."""
    last = folder / "api_port"
    wanted = api_port
    if not wanted and last.is_file() and last.read_text(encoding="ascii").strip().isdigit():
        wanted = int(last.read_text(encoding="ascii"))
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", wanted))
    except OSError:
        if api_port:
            listener.close()
            raise _taken(api_port, "--api-port") from None
        listener.bind(("127.0.0.1", 0))
    replace(last, str(listener.getsockname()[1]))
    return listener


def _wait_until_up(settings: Settings, child: subprocess.Popen[bytes], log: Path, timeout: float) -> ClusterState:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = state(settings)
        if found is not None and found.pid == child.pid:
            # It outlives this process, which therefore does not wait for it.
            child.returncode = 0
            return found
        if child.poll() is not None:
            raise _why(settings, child.returncode, log)
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    raise TimedOut(f"the cluster did not come up within {timeout:.0f} s", fix=f"read {log}")


def _why(settings: Settings, code: int, log: Path) -> HallmarkError:
    kinds: dict[str, type[HallmarkError]] = {"DeclarationError": DeclarationError, "Conflict": Conflict}
    try:
        found = json.loads((settings.cluster / _ERROR).read_text(encoding="utf-8"))
        kind = kinds.get(found.pop("kind"), Unavailable)
        return kind(found["message"], expected=found["expected"], got=found["got"], fix=found["fix"])
    except (OSError, ValueError, KeyError):
        lines = tail(log, 4096).decode("utf-8", "replace").strip().splitlines()
        got = lines[-1] if lines else f"exit code {code}"
        return Unavailable("the cluster ended while it was starting", got=got, fix=f"read {log}")


def _tell(settings: Settings, error: HallmarkError) -> None:
    found = {"kind": type(error).__name__, "message": error.message, "expected": error.expected}
    replace(settings.cluster / _ERROR, json.dumps({**found, "got": error.got, "fix": error.fix}))


def _leftovers(settings: Settings) -> list[tuple[int, str]]:
    from local_cluster.processes import recorded

    return recorded(settings.cluster / "processes.json")


def _refuse_second(settings: Settings) -> None:
    if not _locked(settings.cluster):
        return
    running = state(settings)
    where = f"its gateway is {running.gateway}" if running else "it is starting or stopping"
    raise Conflict(
        "the local cluster is up already",
        got=where,
        fix="go on using it, or `hallmark down` first; HALLMARK_STATE names another one",
    )


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_free(port: int, option: str) -> None:
    if not 1 <= port <= 65535:
        raise DeclarationError(
            f"{option} {port} is not a port", expected="1 to 65535", got=str(port), fix="take another"
        )
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise _taken(port, option) from None


def _taken(port: int, option: str) -> DeclarationError:
    return DeclarationError(
        f"port {port} is taken",
        expected=f"a free port on 127.0.0.1 for {option}",
        got=f"another process listens on {port}",
        fix=f"stop that process, or take another port with `hallmark up {option} <port>`",
    )


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[IO[bytes]]:
    with (folder / "lock").open("ab") as stream:
        for patience in range(20, -1, -1):
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                # `state` takes the lock for an instant; only one that stays is another cluster's.
                if not patience:
                    raise Conflict("the local cluster is up already", fix="`hallmark down` first") from None
                time.sleep(0.05)
        yield stream


def _locked(folder: Path) -> bool:
    try:
        with (folder / "lock").open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(stream, fcntl.LOCK_UN)
            return False
    except FileNotFoundError:
        return False
    except OSError:
        return True


def main() -> None:
    """`python -m local_cluster.cluster`: what `up` starts."""
    flags = argparse.ArgumentParser(prog="python -m local_cluster.cluster")
    flags.add_argument("--port", type=int, default=PORT)
    flags.add_argument("--api-port", type=int, default=0)
    flags.add_argument("--adapter", choices=BUILDS, default=LOCAL.build)
    given = flags.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = Settings.load()
    try:
        run(settings, port=given.port, api_port=given.api_port, adapter=BUILDS[given.adapter])
    except HallmarkError as error:
        _tell(settings, error)
        _LOG.error("%s", error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
