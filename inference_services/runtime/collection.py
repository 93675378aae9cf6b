"""A collection of OpenSearch or Qdrant beside a served model: filled from its unit, refused by digest, and searched while requests wait."""

from __future__ import annotations

import logging

from numpy.typing import ArrayLike

from hallmark.errors import HallmarkError, Unavailable
from hallmark.retrieval.backends import address
from hallmark.retrieval.backends.address import Collected, Kind
from hallmark.retrieval.backends.backend import Collection
from hallmark.retrieval.filters import Filter
from hallmark.retrieval.search import Hits
from hallmark.retrieval.unit import Unit
from inference_services.protocol.errors import StoreDown

_FILLING = 60.0
"""Seconds of a call while a collection is filled."""
_log = logging.getLogger(__name__)


def opened(kind: Kind, at: str, name: str, unit: Unit, *, timeout: float) -> Searched:
    """The collection of this unit at an address, whole: what is missing is written first, by each server that starts meanwhile.

    timeout: seconds of a search.   `ModelRefused` where it was filled from another unit, `Unavailable` where it does not answer.
    """
    for client in ("opensearch", "httpx"):  # they tell each call, and a failed one with its stack
        logging.getLogger(client).setLevel(logging.ERROR)
    collection = Collection(name, unit)
    filling = address.connect(kind, at, collection, timeout=_FILLING)
    try:
        filling.publish()
        filling.verify()
    except HallmarkError:
        raise
    except Exception as error:  # of the client's own many kinds
        raise Unavailable(
            f"the collection {collection.name} of {kind} cannot be filled",
            expected="a server that answers, and takes what is written",
            got=f"{type(error).__name__}: {error}",
        ) from error
    _log.info("searching the collection %s of %s", collection.name, kind)
    return Searched(address.connect(kind, at, collection, timeout=timeout), shown=f"{kind} ({collection.name})")


class Searched:
    """Nearest vectors by the collection (hallmark.retrieval.search.Nearest)."""

    def __init__(self, collected: Collected, *, shown: str) -> None:
        self._collected, self._shown = collected, shown

    def search(self, queries: ArrayLike, k: int, where: Filter | None = None) -> Hits:
        """The k nearest; `Refused` where that is no search, `StoreDown` where the collection does not answer."""
        try:
            return self._collected.search(queries, k, where)
        except HallmarkError:
            raise
        except Exception as error:  # of the client's own many kinds
            _log.warning("%s does not answer: %s: %s", self._shown, type(error).__name__, " ".join(str(error).split()))
            raise StoreDown("the items could not be searched now") from error
