"""Programs and rights that these tests take. `python -m tests.conformance.needs` names what is missing, and how to get it."""

from __future__ import annotations

import os
import shutil
import sys

from hallmark.errors import HallmarkError
from tests.conformance import build


class Missing(HallmarkError):
    """A program or a right that the tests of real controllers take is not here."""

    exit_code = 2


def missing(*, built: bool = False) -> Missing | None:
    """All that is missing as one error; none where the tests can run. built: must the programs be there already?"""
    lacks: list[tuple[str, str]] = []
    here = build.complete()
    if built and not here:
        lacks.append(("the programs of tests/conformance/programs", "make conformance builds them, once"))
    elif not here and shutil.which("go") is None:
        lacks.append((f"Go {build.go_version()} or later", "install it from go.dev/dl and put its bin on the PATH"))
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        lacks.append(
            ("root on Linux, for a network namespace", "run as root, or with sudo; in a container add CAP_SYS_ADMIN")
        )
    for program, package in (("etcd", "etcd-server"), ("ip", "iproute2")):
        if shutil.which(program) is None:
            lacks.append((program, f"Debian's package {package} has it: .ci/packages"))
    if shutil.which("kubectl") is None:
        lacks.append(
            ("kubectl 1.32 or later", "install kubectl from kubernetes.io: it makes the builds that are applied")
        )
    if not lacks:
        return None
    return Missing(
        "the real controllers cannot be run here",
        expected=", ".join(what for what, _ in lacks),
        got="not here",
        fix="; ".join(fix for _, fix in lacks),
    )


def main() -> int:
    """Say what is missing on standard error; exit code 2 where something is."""
    found = missing()
    if found is None:
        return 0
    sys.stderr.write(f"{found}\n")
    return found.exit_code


if __name__ == "__main__":
    sys.exit(main())
