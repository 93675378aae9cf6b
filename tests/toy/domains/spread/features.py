"""The toy's."""

from domains.toy.features import FIELDS, encode, observe

__all__ = ["FIELDS", "encode", "observe"]
