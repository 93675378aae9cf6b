"""The command line. `hallmark --help` imports nothing heavy; each command imports what it needs when it runs."""

from __future__ import annotations

import sys

from hallmark.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
