"""A network namespace of this process's own: loopback, and every address of 10.0.0.0/8 on it. Nothing leaves it, nothing comes in."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator

PODS = "10.0.0.0/8"
_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def private() -> Iterator[None]:
    """Put the calling thread, and whatever it starts from here on, into a new namespace; the thread comes back at the end.

    The kernel takes the namespace away with the last process in it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
        try:
            for command in (["link", "set", "lo", "up"], ["route", "add", "local", PODS, "dev", "lo"]):
                subprocess.run(["ip", *command], check=True, capture_output=True)
            yield
        finally:
            if libc.setns(before, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(before)
