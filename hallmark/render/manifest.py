"""Kubernetes objects as the text of a generated file, which names its source in its first line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

MARK = "# Generated from "


def manifest(objects: Iterable[dict[str, Any]], *, source: str) -> str:
    """`objects` as YAML documents, under a header that names `source`, such as domains/fraud/domain.yaml."""
    return f"{MARK}{source} by `hallmark render`; edit that.\n" + text(objects)


def text(objects: Iterable[dict[str, Any]]) -> str:
    """`objects` as YAML documents, each key where it was set."""
    return yaml.dump_all(objects, Dumper=_Plain, sort_keys=False, width=160)


class Block(str):
    """Text of several lines that stays so in the file (`|`), such as a dashboard's JSON: a change of it reads line by line."""


class _Plain(yaml.CSafeDumper):
    """No anchors: what stands twice is written twice, so that a file can be read and patched from the top down."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _block(dumper: _Plain, text: Block) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")


_Plain.add_representer(Block, _block)
