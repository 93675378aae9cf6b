"""Prometheus as a source of samples: the metrics of a cluster, by namespace and name.

https://prometheus.io/docs/prometheus/latest/querying/api
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hallmark.remote import Remote
from hallmark.rollout.samples import Sample

FRESH = 120.0
_SERVER_SECONDS = 4
_NOTE = "PromQL info"
"""Prefix by which versions 2.48 to 2.55 mark what later ones call `infos`: remarks on the query, not on the data."""


class Prometheus:
    """The newest samples of metrics, as one Prometheus (or Thanos, Mimir, Amazon's) knows them.

    A name that has no sample younger than `fresh` seconds is not in the answer, and neither is a series whose target is gone or
    whose value is NaN or infinite: what is missing is never an old number. Prometheus itself would repeat one for five minutes.
    """

    def __init__(self, remote: Remote, *, fresh: float = FRESH) -> None:
        self._remote = remote
        self._fresh = fresh

    @classmethod
    def at(cls, url: str, *, token: Path | None = None, fresh: float = FRESH) -> Prometheus:
        """The Prometheus at this address."""
        return cls(Remote.at(url, what="Prometheus", token=token), fresh=fresh)

    def read(self, namespace: str, names: Sequence[str]) -> list[Sample]:
        """The samples called one of `names` (whole names) that carry this namespace.

        `Unavailable` where it does not answer, refuses the query, or warns that it answers from a part of the data.
        """
        if not names:
            return []
        pattern = "|".join(names)
        wanted = f'{{__name__=~"{_quoted(pattern)}",namespace="{_quoted(namespace)}"}}'
        # The left side ends a series with its target, the right one ends it where nothing is scraped any more.
        query = f"{wanted} and last_over_time({wanted}[{round(self._fresh * 1000)}ms])"
        form = {"query": query, "timeout": f"{_SERVER_SECONDS}s"}
        answer = self._remote.ask("POST", "/api/v1/query", form=form)
        body = answer.body if isinstance(answer.body, dict) else {}
        if answer.status != 200 or body.get("status") != "success":
            got = f"{answer.status} {body.get('errorType', '')}: {body.get('error', 'no reason')}"
            raise self._remote.unavailable(got, fix="look at its log, and whether the token may query")
        partial = [str(note) for note in body.get("warnings") or [] if not str(note).startswith(_NOTE)]
        if partial:
            raise self._remote.unavailable(f"a part of the data: {'; '.join(partial)[:300]}")
        try:
            return _samples(body["data"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._remote.unavailable(f"another form of answer ({type(error).__name__}: {error})") from error


def _samples(data: dict[str, Any]) -> list[Sample]:
    if data["resultType"] != "vector":
        raise ValueError(f"expected a vector, got a {data['resultType']}")
    found = []
    for series in data["result"]:
        labels = {str(name): str(value) for name, value in series["metric"].items()}
        _, text = series["value"]
        value = float(text)
        if math.isfinite(value):
            found.append(Sample(labels.pop("__name__"), labels, value))
    return found


def _quoted(text: str) -> str:
    """As it stands between double quotes in PromQL."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
