"""A revision's containers as processes of this machine: the same commands, with ports and paths that are free here.

What a container would see in a pod is rewritten, in its args and environment, by three rules:
- a port of the pod (one that a container declares, a probe uses, or an argument `--…port=N` names) becomes a free loopback port,
  in `--…port=N`, `--…port N`, in variables whose name ends in PORT, and after `127.0.0.1:`, `localhost:` or `0.0.0.0:`;
  an argument `--host=0.0.0.0` becomes `--host=127.0.0.1`, so that nothing is reached from outside this machine; a pod with an
  address of its own (`address`) keeps its ports, and has that address in the place of 127.0.0.1;
- a mount path (/mnt/models and each volumeMount) becomes the folder that stands for it, at the start of a value or after `=`;
- `python` becomes this interpreter.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import socket
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from hallmark.errors import HallmarkError
from hallmark.settings import COLLECTION

Json = dict[str, Any]

MAIN = "kserve-container"
"""The container that serves the model."""
LOOPBACK = "127.0.0.1"
"""The address of every pod of the local cluster."""
_PORT_FLAG = re.compile(r"^(--?[\w-]*port)(?:=(\d+))?$")
_HOST_FLAG = re.compile(r"^(--?host=)(0\.0\.0\.0|::|\[::\])$")
_LOCAL = re.compile(r"\b(127\.0\.0\.1|localhost|0\.0\.0\.0):(\d+)")
_KEPT_ENVIRONMENT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "SYSTEMROOT", "LD_LIBRARY_PATH"),
    COLLECTION,
)
_PORTS = range(20_000, 32_000)
_FIELDS = {"metadata.name": "POD_NAME", "metadata.namespace": "POD_NAMESPACE", "status.podIP": "POD_IP"}
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_CPU = re.compile(r"^(\d+(?:\.\d+)?)(m?)$")


class ContainerProbe(BaseModel):
    """A readiness or liveness probe of a container."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int
    host: str = LOOPBACK
    path: str | None = None
    period: float = 10.0
    timeout: float = 1.0
    failures: int = 3
    delay: float = 0.0


class ContainerPlan(BaseModel):
    """One container, ready to be started."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    readiness: ContainerProbe | None = None
    liveness: ContainerProbe | None = None


def ports(containers: Iterable[Json]) -> tuple[int, ...]:
    """The ports of a pod, in the order in which its containers name them."""
    found: dict[int, None] = {}
    for container in containers:
        for item in container.get("ports") or []:
            found[int(item["containerPort"])] = None
        for kind in ("readinessProbe", "livenessProbe"):
            number = _probe_port(container.get(kind), {})
            if number:
                found[number] = None
        args = [*(container.get("command") or []), *(container.get("args") or [])]
        for index, arg in enumerate(args):
            if number := _flag_port(args, index, str(arg)):
                found[number] = None
    return tuple(found)


def http_port(main: Json) -> int:
    """The port that the main container serves HTTP on: the one that it declares, else KServe's 8080."""
    declared = [int(item["containerPort"]) for item in main.get("ports") or []]
    return declared[0] if declared else 8080


def health(main: Json) -> str:
    """The path of the main container's readiness: its readiness probe's, else the Open Inference Protocol's."""
    path = ((main.get("readinessProbe") or {}).get("httpGet") or {}).get("path")
    return str(path or "/v2/health/ready")


def free_ports(wanted: Iterable[int], *, taken: Container[int] = ()) -> dict[int, int]:
    """A free loopback port for each of `wanted`, none of them `taken`.

    They lie below the range that outgoing connections take theirs from, so that none is lost before it is listened on.
    """
    found: dict[int, int] = {}
    for number in wanted:
        found[number] = next(p for p in _candidates() if p not in taken and p not in found.values() and free(p))
    return found


def _candidates() -> Iterator[int]:
    for _ in range(1000):
        yield secrets.choice(_PORTS)
    # The range is full: take what the system gives.
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.bind(("127.0.0.1", 0))
            port: int = sock.getsockname()[1]
        yield port


def free(port: int, *, again: bool = False) -> bool:
    """Does nobody have this port, at any address of this machine? again: nor listen there; who just did may have left connections behind."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        if again:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            # All interfaces: a server that binds to them would find the port taken on any.
            sock.bind(("", port))
        except OSError:
            return False
        return True


def plan(
    container: Json,
    *,
    ports: Mapping[int, int],
    mounts: Mapping[str, Path],
    environment: Mapping[str, str],
    root: Path,
    address: str = LOOPBACK,
) -> ContainerPlan:
    """The process that stands for `container`; `environment` is what the platform adds to it, `address` the pod's own."""

    def local(value: str) -> str:
        return _paths(_addresses(value, ports, address), mounts)

    args = [str(a) for a in [*(container.get("command") or []), *(container.get("args") or [])]]
    command = [_flag(args, index, arg, ports) or local(arg) for index, arg in enumerate(args)]
    if re.fullmatch(r"(.*/)?python3?(\.\d+)?", command[0]):
        command[0] = sys.executable
    env = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    env |= {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(root), **_threads(container), **environment}
    for item in container.get("env") or []:
        if any(isinstance(each, dict) and each.get("optional") for each in (item.get("valueFrom") or {}).values()):
            continue  # a domain's settings on a cluster; this machine's are in `environment`
        name, value = str(item.get("name")), _value(item, environment)
        is_port = name.endswith("PORT") and value.isdigit() and int(value) in ports
        env[name] = str(ports[int(value)]) if is_port else local(value)
    return ContainerPlan(
        name=str(container["name"]),
        command=tuple(command),
        environment=env,
        readiness=_probe(container.get("readinessProbe"), ports, address) or _answers(container, ports, address),
        liveness=_probe(container.get("livenessProbe"), ports, address),
    )


def _value(item: Json, environment: Mapping[str, str]) -> str:
    source = item.get("valueFrom")
    if not source:
        return str(item.get("value") or "")
    path = (source.get("fieldRef") or {}).get("fieldPath")
    if path not in _FIELDS:
        kind = path or next(iter(source), "nothing")
        raise HallmarkError(f"env {item.get('name')!r}: valueFrom {kind} is not served by the local cluster")
    return environment.get(_FIELDS[path], "")


def cpus(container: Json) -> float | None:
    """The container's CPU limit; none where it has none that can be read."""
    value = str(((container.get("resources") or {}).get("limits") or {}).get("cpu", ""))
    match = _CPU.match(value)
    return None if match is None else float(match.group(1)) / (1000 if match.group(2) else 1)


def _threads(container: Json) -> dict[str, str]:
    limit = cpus(container)
    return {} if limit is None else dict.fromkeys(_THREADS, str(max(1, math.ceil(limit))))


def _flag_port(args: list[str], index: int, arg: str) -> int | None:
    match = _PORT_FLAG.match(arg)
    if match is None:
        return None
    if match.group(2):
        return int(match.group(2))
    after = str(args[index + 1]) if index + 1 < len(args) else ""
    return int(after) if after.isdigit() else None


def _flag(args: list[str], index: int, arg: str, ports: Mapping[int, int]) -> str | None:
    match = _PORT_FLAG.match(arg)
    if match and match.group(2) and int(match.group(2)) in ports:
        return f"{match.group(1)}={ports[int(match.group(2))]}"
    before = _PORT_FLAG.match(args[index - 1]) if index else None
    if before and not before.group(2) and arg.isdigit() and int(arg) in ports:
        return str(ports[int(arg)])
    return None


def _addresses(value: str, ports: Mapping[int, int], address: str) -> str:
    def local(match: re.Match[str]) -> str:
        number = int(match.group(2))
        return f"{address}:{ports[number]}" if number in ports else match.group(0)

    return _HOST_FLAG.sub(rf"\g<1>{address}", _LOCAL.sub(local, value))


def _paths(value: str, mounts: Mapping[str, Path]) -> str:
    for mount in sorted(mounts, key=len, reverse=True):
        pattern = rf"(^|=|:){re.escape(mount.rstrip('/'))}(?=/|$)"
        value = re.sub(pattern, lambda match, to=str(mounts[mount]): match.group(1) + to, value)  # type: ignore[misc]
    return value


def _probe_port(probe: Json | None, names: Mapping[str, int]) -> int | None:
    action = (probe or {}).get("httpGet") or (probe or {}).get("tcpSocket") or {}
    value = action.get("port")
    return names.get(value) if isinstance(value, str) else value


def _answers(container: Json, ports: Mapping[int, int], address: str) -> ContainerProbe | None:
    """The probe of a main container that declares none: its port answers, as Knative's queue-proxy asks it."""
    number = http_port(container)
    if container["name"] != MAIN or number not in ports:
        return None
    return ContainerProbe(port=ports[number], host=address, period=1.0, timeout=1.0, failures=3)


def _probe(probe: Json | None, ports: Mapping[int, int], address: str) -> ContainerProbe | None:
    number = _probe_port(probe, {})
    if probe is None or number is None:
        return None
    return ContainerProbe(
        port=ports.get(number, number),
        host=address,
        path=(probe.get("httpGet") or {}).get("path"),
        period=float(probe.get("periodSeconds", 10)),
        timeout=float(probe.get("timeoutSeconds", 1)),
        failures=int(probe.get("failureThreshold", 3)),
        delay=float(probe.get("initialDelaySeconds", 0)),
    )
