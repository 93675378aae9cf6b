"""A real control plane: etcd, the API server, the controller manager and the scheduler as processes with a log each.

All end with the test: they are on the leash (hallmark/leash.py), which takes them along also when pytest is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from hallmark.errors import TimedOut
from hallmark.leash import Leash
from local_cluster.processes import tail
from tests.conformance import build
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

    def start(
        self,
        name: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        binary: str = "",
        folder: Path | None = None,
    ) -> None:
        """Start a program under a name of its own, in a folder of its own where one is given."""
        log = self.log(name).open("ab")
        with log:
            self._running[name] = self._leash.start(
                [binary or build.program(name), *arguments],
                environment={"PATH": os.environ["PATH"], "HOME": str(self.folder), **(environment or {})},
                folder=folder or self.folder,
                output=log,
            )

    def run(self, module: str, *arguments: str, name: str, user: str) -> None:
        """Start a module of this checkout with a kubeconfig of `user`."""
        given = ("-m", module, f"--kubeconfig={self.credentials.kubeconfig(user)}", *arguments)
        self.start(name, *given, environment={"PYTHONPATH": str(build.ROOT)}, binary=sys.executable)

    def stop(self, name: str, *, seconds: float = 30) -> int:
        """End a program well; gives its exit code."""
        process = self._running.pop(name)
        process.terminate()
        return process.wait(seconds)

    def kill(self, name: str) -> None:
        """End a program and whatever it started itself, at once."""
        process = self._running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

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

    def begin(self, *, controllers: bool = True) -> None:
        """Start the control plane, on what its folder `etcd` holds already."""
        self._etcd()
        self._api_server()
        if controllers:
            self._controllers()

    def close(self) -> None:
        """End everything; nothing of it is kept, so nobody is asked to end well."""
        self.api.close()
        for name in list(self._running):
            self.kill(name)
        self._leash.end()

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
