"""A real control plane: etcd, the API server, the controller manager and the scheduler as processes with a log each.

All end with the test: they are on the leash (hallmark/leash.py), which takes them along also when pytest is killed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx

from hallmark.errors import TimedOut
from local_cluster.processes import Leash, tail
from tests.conformance import build, namespace
from tests.conformance.api import Api, Refusal
from tests.conformance.credentials import ADDRESS, Credentials

START_SECONDS = 90.0


class Stack:
    """The control plane of one test session, and what is started beside it."""

    def __init__(self, folder: Path, leash: Leash) -> None:
        self.folder = folder
        self.credentials = Credentials(folder / "credentials")
        self.api = Api(self.credentials.tokens["admin"], self.credentials.authority)
        self._leash = leash
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None, binary: str = "") -> None:
        """Start a program under a name of its own."""
        log = self.log(name).open("ab")
        with log:
            process = subprocess.Popen(
                [binary or build.program(name), *arguments],
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **(environment or {})},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._leash.add(process.pid)
        self._running[name] = process

    def run(self, module: str, *arguments: str, name: str, user: str) -> None:
        """Start a module of this checkout with a kubeconfig of `user`."""
        given = ("-m", module, f"--kubeconfig={self.credentials.kubeconfig(user)}", *arguments)
        self.start(name, *given, environment={"PYTHONPATH": str(build.ROOT)}, binary=sys.executable)

    def stop(self, name: str, *, seconds: float = 30) -> int:
        """End a program well; gives its exit code."""
        process = self._running.pop(name)
        process.terminate()
        code = process.wait(seconds)
        self._leash.remove(process.pid)
        return code

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def until(self, name: str, ready: Callable[[], bool], *, seconds: float = START_SECONDS) -> None:
        """Wait until `ready`; its program must not end before. The error shows the end of its log."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._running[name].poll() is None:
            with contextlib.suppress(httpx.HTTPError, Refusal):
                if ready():
                    return
            time.sleep(0.1)
        code = self._running[name].poll()
        raise TimedOut(
            f"{name} is not ready",
            expected=f"an answer within {seconds:g} s",
            got="none" if code is None else f"it ended with {code}",
            fix=tail(self.log(name), 4000).decode("utf-8", "replace"),
        )

    def begin(self) -> None:
        """Start the control plane."""
        self._etcd()
        self._api_server()
        self._controllers()

    def close(self) -> None:
        """End everything; nothing of it is kept, so nobody is asked to end well."""
        self.api.close()
        for process in self._running.values():
            process.kill()
            process.wait()
        self._leash.close()

    def _etcd(self) -> None:
        address = "http://127.0.0.1:2379"
        self.start(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={address}",
            f"--advertise-client-urls={address}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            binary="etcd",
        )
        self.until("etcd", lambda: answers(f"{address}/health"))

    def _api_server(self) -> None:
        made = self.credentials
        self.start(
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={ADDRESS}",
            "--secure-port=6443",
            f"--tls-cert-file={made.certificate}",
            f"--tls-private-key-file={made.key}",
            f"--token-auth-file={made.passwords}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={made.signer}",
            f"--service-account-signing-key-file={made.signer}",
            "--allow-privileged=true",
        )
        self.until("kube-apiserver", lambda: bool(self.api.client.get("/readyz").is_success))

    def _controllers(self) -> None:
        made = self.credentials
        common = ("--leader-elect=false", "--bind-address=127.0.0.1", f"--cert-dir={self.folder / 'self-signed'}")
        self.start(
            "kube-controller-manager",
            *common,
            f"--kubeconfig={made.kubeconfig('system:kube-controller-manager')}",
            f"--service-account-private-key-file={made.signer}",
            f"--root-ca-file={made.authority}",
            "--use-service-account-credentials=true",
        )
        self.start("kube-scheduler", *common, f"--kubeconfig={made.kubeconfig('system:kube-scheduler')}")
        # The account of a new namespace shows that the controllers work.
        accounts = "/api/v1/namespaces/default/serviceaccounts/default"
        self.until("kube-controller-manager", lambda: bool(self.api.get(accounts)))
        self.until("kube-scheduler", lambda: answers("https://127.0.0.1:10259/healthz"))


def answers(url: str) -> bool:
    """Does a health page say yes to a kubelet?"""
    asker = {"User-Agent": "kube-probe/1.34"}
    made_at_start = False  # each process made its own certificate at its start
    return httpx.get(url, headers=asker, trust_env=False, verify=made_at_start, timeout=5).is_success


@contextlib.contextmanager
def stack(folder: Path) -> Iterator[Stack]:
    """A control plane in a network namespace of its own."""
    with namespace.private():
        leash = Leash(folder / "children.json")
        leash.open()
        made = Stack(folder, leash)
        try:
            made.begin()
            yield made
        finally:
            made.close()
