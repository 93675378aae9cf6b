"""Results as a notebook shows them: small tables of HTML, everything in them escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any


def table(rows: Sequence[Mapping[str, Any]], *, title: str = "", empty: str = "nothing") -> str:
    """A table with a column for each key of the first row."""
    head = f"<p><b>{escape(title)}</b></p>" if title else ""
    if not rows:
        return f"{head}<p>{escape(empty)}</p>"
    names = list(rows[0])
    titles = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(_cell(row.get(name)) for name in names) + "</tr>" for row in rows)
    return f"{head}<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def lines(*texts: str) -> str:
    """A paragraph for each text that says something."""
    return "".join(f"<p>{escape(text)}</p>" for text in texts if text)


def _cell(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    side = "right" if number else "left"
    return f"<td style='text-align:{side};vertical-align:top'>{escape(said(value))}</td>"


def said(value: Any) -> str:
    """A value as a person reads it: four digits, and nothing for nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
