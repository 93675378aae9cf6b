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
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from hallmark import leash
from hallmark.declaration.traffic import BUILDS, LOCAL, TrafficAdapter
from hallmark.errors import Conflict, DeclarationError, HallmarkError, TimedOut, Unavailable
from hallmark.files import replace
from hallmark.leash import Leash
from hallmark.settings import Settings
from local_cluster.containers import free_ports
from local_cluster.processes import LOG_BYTES, tail

if TYPE_CHECKING:
    from local_cluster.access import ApiAccess

PORT = 8080
_ERROR = "error.json"
_GRACE = 10.0
"""Seconds for a cluster without a state folder to end well."""
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
    build: str = LOCAL.build

    @property
    def adapter(self) -> TrafficAdapter:
        """What its gateway can do with traffic, and the mode that it is in."""
        return BUILDS[self.build]

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


class Stopped(NamedTuple):
    """What `down` has ended: the cluster, where one ran, and processes that had been left over, as people are told them."""

    cluster: bool
    left: list[str]


def up(
    settings: Settings,
    *,
    port: int = PORT,
    api_port: int = 0,
    timeout: float = 60.0,
    adapter: TrafficAdapter | None = None,
    on: Leash | None = None,
    stays: bool = True,
) -> ClusterState:
    """Start the cluster in the background and wait until it serves.

    port: of the gateway, 0 for any free one;  api_port: of the Kubernetes API, 0 for the one it had last, or any free one.
    adapter: what its gateway can do; by default what it could last.
    on: the leash to start it on;  stays: it outlives this process.
    `Conflict` when it runs already, or holds InferenceServices of KServe's other mode.
    """
    _refuse_second(settings, adapter)
    leash.end(lambda: leash.left(settings.cluster), grace=_GRACE)  # of one whose folder was deleted, or that was killed
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
    command += [f"--adapter={adapter.build}"] if adapter else []
    environment = {**os.environ, **settings.environment()}
    with log.open("ab") as stream:
        child = (on or Leash(folder)).start(
            command, environment=environment, folder=settings.root, output=stream, stays=stays, place=folder
        )
    return _wait_until_up(settings, child, log, timeout)


def down(settings: Settings, *, timeout: float = 60.0) -> Stopped:
    """Stop the cluster and everything it runs, and what runs that were killed have left on this state folder; and wait."""
    running = state(settings)
    if running is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while running is not None and leash.identity(running.pid) == running.identity:
        if time.monotonic() > deadline:
            os.kill(running.pid, signal.SIGKILL)
            leash.end(lambda: leash.left(settings.cluster))
            raise TimedOut(
                f"the cluster did not stop within {timeout:.0f} s and was killed",
                fix=f"read {settings.cluster / 'cluster.log'}",
            )
        time.sleep(0.05)
    found = [str(each) for each in leash.left(settings.state, everywhere=True)]
    leash.end(lambda: leash.left(settings.state, everywhere=True), grace=_GRACE)
    return Stopped(running is not None, found)


def run(settings: Settings, *, port: int = PORT, api_port: int = 0, adapter: TrafficAdapter | None = None) -> int:
    """Be the cluster, in the foreground, until a signal; gives its number."""
    settings.cluster.mkdir(parents=True, exist_ok=True)
    port = port or free_ports([PORT])[PORT]
    with _lock(settings.cluster):
        leash.end(lambda: leash.left(settings.cluster), grace=_GRACE)
        return asyncio.run(_serve(settings, port=port, api_port=api_port, adapter=adapter))


async def _serve(settings: Settings, *, port: int, api_port: int, adapter: TrafficAdapter | None) -> int:
    from local_cluster import api, kubeconfig
    from local_cluster.access import ApiAccess
    from local_cluster.envoy import Envoy
    from local_cluster.reconciler import Reconciler
    from local_cluster.standard import StandardReconciler
    from local_cluster.store import ObjectStore
    from local_cluster.streams import Streams

    folder = settings.cluster
    settings.cluster_state.unlink(missing_ok=True)
    told: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, told.put_nowait, int(number))
    held = Leash(folder)
    _check_free(port, "--port")
    listener = _listen(folder, api_port)
    store = ObjectStore(folder / "objects.db")
    adapter = _kept(folder, adapter, store.list("inferenceservices")[0])
    envoy = Envoy(folder / "envoy", port=port, on=held)
    settings.models.mkdir(parents=True, exist_ok=True)
    reconcile = StandardReconciler if adapter.mode == "Standard" else Reconciler
    reconciler = reconcile(
        store, envoy=envoy, on=held, models=settings.models, folder=folder, root=settings.root, adapter=adapter
    )
    streams = Streams(settings, on=held)
    access = ApiAccess.open(folder / "access")
    served = api.app(store, pods=reconciler, token=access.token.get_secret_value(), adapter=adapter)
    server = _server(served, access)
    tasks: list[asyncio.Task[Any]] = []
    try:
        streams.prepare()
        await envoy.start()
        await reconciler.start()
        streams.start(after=lambda: not reconciler.starting)
        tasks.append(asyncio.create_task(server.serve(sockets=[listener])))
        while not server.started:
            if tasks[0].done():
                tasks[0].result()
                raise Unavailable("the Kubernetes API did not start", fix="read the lines above")
            await asyncio.sleep(0.01)
        here = listener.getsockname()[1]
        kubeconfig.write(settings.kubeconfig, server=f"https://127.0.0.1:{here}", access=access)
        replace(settings.cluster_state, _state(port, here, envoy.admin, adapter.build).model_dump_json())
        return await told.get()
    finally:
        settings.cluster_state.unlink(missing_ok=True)
        store.end_watches()
        server.should_exit = True
        await asyncio.gather(*tasks, return_exceptions=True)
        await reconciler.halt()
        await envoy.stop()
        await reconciler.stop()
        await streams.stop()
        store.close()
        listener.close()
        held.end()


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


def _state(port: int, api_port: int, admin: str, build: str) -> ClusterState:
    from local_cluster.supervisor import now

    pid = os.getpid()
    who = {"pid": pid, "identity": leash.identity(pid) or "", "started": now()}
    return ClusterState.model_validate(who | {"port": port, "api_port": api_port, "admin": admin, "build": build})


def _kept(folder: Path, asked: TrafficAdapter | None, services: list[dict[str, Any]]) -> TrafficAdapter:
    """What the gateway shall be able to do: what is asked for, else what it could last; kept for the next time.

    `Conflict` where InferenceServices are of KServe's other mode, which a live one cannot change.
    """
    file = folder / "mode"
    last = BUILDS.get(file.read_text(encoding="ascii").strip(), LOCAL) if file.is_file() else LOCAL
    adapter = asked or last
    if adapter.mode != last.mode and services:
        names = ", ".join(sorted(str(each["metadata"]["name"]) for each in services))
        raise Conflict(
            f"this cluster's InferenceServices are of KServe's {last.mode} mode, which a live one cannot change",
            expected=f"`hallmark up` in the mode that it had: --mode {last.option}",
            got=f"--mode {adapter.option}, and {names}",
            fix=f"`hallmark up --mode {last.option}` goes on with them, and there `kubectl delete inferenceservice --all -A` "
            "makes room for the other; or HALLMARK_STATE=<folder> names another cluster",
        )
    replace(file, adapter.build)
    return adapter


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
    try:
        while time.monotonic() < deadline:
            found = state(settings)
            if found is not None and found.pid == child.pid:
                # It outlives this process, which therefore does not wait for it.
                child.returncode = 0
                return found
            if child.poll() is not None:
                raise _why(settings, child.returncode, log)
            time.sleep(0.05)
    except KeyboardInterrupt:
        child.terminate()
        child.wait(timeout)
        raise
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


def _refuse_second(settings: Settings, asked: TrafficAdapter | None) -> None:
    if not _locked(settings.cluster):
        return
    running = state(settings)
    if running is None:
        raise Conflict(
            "the local cluster is up already", got="it is starting or stopping", fix="`hallmark down`, and then again"
        )
    where = f"its gateway is {running.gateway}, and it runs as --mode {running.adapter.option}"
    if asked is None or asked == running.adapter:
        raise Conflict(
            "the local cluster is up already",
            got=where,
            fix="go on using it, or `hallmark down` first; HALLMARK_STATE names another one",
        )
    rid = "its InferenceServices cannot change KServe's mode: `kubectl delete inferenceservice --all -A` first; "
    raise Conflict(
        "the local cluster is up already, in another mode",
        expected=f"--mode {running.adapter.option}, or a cluster that is down",
        got=f"--mode {asked.option}; {where}",
        fix=f"{'' if asked.mode == running.adapter.mode else rid}`hallmark down`, then `hallmark up --mode {asked.option}`; "
        "or HALLMARK_STATE=<folder> names another cluster",
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
    flags.add_argument("--adapter", choices=BUILDS)
    given = flags.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = Settings.load()
    try:
        run(settings, port=given.port, api_port=given.api_port, adapter=BUILDS.get(given.adapter))
    except HallmarkError as error:
        _tell(settings, error)
        _LOG.error("%s", error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
