"""Installed versions of libraries."""

from __future__ import annotations

from importlib import metadata


def version(distribution: str) -> str:
    """The installed version of a library; empty where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
