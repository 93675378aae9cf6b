"""The command line. `hallmark --help` imports nothing heavy; each command imports what it needs when it runs."""

from __future__ import annotations

from hallmark.cli.app import main

__all__ = ["main"]
