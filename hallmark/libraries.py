"""Installed libraries: their versions, and the additions of packages beside this one."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec


def version(distribution: str) -> str:
    """The installed version of a library; empty where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def additions(group: str) -> list[metadata.EntryPoint]:
    """The entry points of a group whose package is here; an image has neither the local cluster nor the tools."""
    return [each for each in metadata.entry_points(group=group) if find_spec(each.module.partition(".")[0])]
