"""The extras of Hallmark's package: what each is for, which library comes with which, and what of it is not installed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hallmark.errors import Unavailable

PURPOSES = {
    "training": "the steps of a training, and the registry",
    "serving": "the model server",
    "drift": "the drift monitor",
    "report": "Evidently's report",
    "platform": "the local cluster, rollouts, watch",
    "features": "feature views: the join, the stream, the online stores",
    "retrieval": "indexes: search by vectors and words",
    "collections": "indexes in OpenSearch or Qdrant",
    "snowflake": "feature views on Snowflake",
    "iceberg": "training sets as snapshots of Iceberg tables",
    "kafka": "feature views from Kafka",
    "reviews": "a queue of reviews in PostgreSQL",
    "networks": "domains whose models are networks",
    "tracking": "MLflow's server on a cluster",
    "llm": "a small language model, to try the reviewer with",
    "dev": "tests and checks of Hallmark itself",
}
DEMO = ("training", "serving", "drift", "report", "platform")
"""Those that `make demo` installs; `make install` installs all but those that are put in by hand."""
BY_HAND = ("llm",)
"""llama.cpp is built where it is installed: half an hour of two cores, and 280 MB with the model's weights."""


def requirements() -> Iterator[tuple[str, str]]:
    """Each extra with the name of each distribution that it asks for; none where Hallmark runs without being installed."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("hallmark") or []
    except PackageNotFoundError:
        return
    for line in lines:
        name, extra = re.match(r"[\w.-]+", line), re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if name and extra:
            yield extra[1], name[0].rstrip(".")


def bringing(module: str) -> str:
    """The extra that a library comes with, by the name under which it is imported; empty where none names it."""
    wanted = module.split(".", maxsplit=1)[0]
    return next((extra for extra, name in requirements() if name.replace("-", "_").lower() == wanted.lower()), "")


def not_installed(error: ModuleNotFoundError, *, what: str, otherwise: str) -> Unavailable:
    """The refusal where a library for something is not installed: what it is for, and what to do without it."""
    extra = bringing(error.name or "")
    return Unavailable(
        f"a library for this {what} is not installed",
        expected=f"{error.name}" + (f", of the extra {extra}" if extra else ""),
        got=str(error),
        fix=f"pip install {error.name}, or {otherwise}",
    )


def missing(extra: str) -> list[str]:
    """The distributions of an extra that are not installed."""
    from importlib.metadata import PackageNotFoundError, distribution

    found = []
    for its, name in requirements():
        if its == extra:
            try:
                distribution(name)
            except PackageNotFoundError:
                found.append(name)
    return found
