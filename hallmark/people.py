"""The person behind a command, as this machine knows them."""

from __future__ import annotations

import getpass


def account() -> str:
    """The account of this machine; "a person" where it has no name, as in many containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "a person"
