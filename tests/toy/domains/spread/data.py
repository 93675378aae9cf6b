"""The toy's points."""

from domains.toy.data import contract, draw, read

__all__ = ["contract", "draw", "read"]
