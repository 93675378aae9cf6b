"""`python -m hallmark.cli`."""

from __future__ import annotations

import sys

from hallmark.cli import main

if __name__ == "__main__":
    sys.exit(main())
