"""The collection at an address: its client, and the index of one unit in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import unquote, urlsplit

from hallmark.errors import DeclarationError
from hallmark.retrieval.backends.backend import Backend, Collection

if TYPE_CHECKING:
    from opensearchpy import OpenSearch
    from qdrant_client import QdrantClient

Kind = Literal["opensearch", "qdrant"]


class Collected(Backend, Protocol):
    """A backend that has to be filled, and may be another's."""

    def publish(self) -> None:
        """Fill it from its unit, unless it is whole."""

    def verify(self) -> None:
        """`ModelRefused` where it is not there whole, or was filled from another unit."""


def connect(kind: Kind, address: str, collection: Collection, *, timeout: float) -> Collected:
    """The collection behind http(s)://host:port, of user and password for OpenSearch or of an API key as password for Qdrant.

    timeout: seconds of each call.   `DeclarationError` where it is no such address, `Unavailable` where the client is not installed.
    """
    from hallmark.extras import not_installed

    found = urlsplit(address)
    if found.scheme not in ("http", "https") or not found.hostname or found.query or found.fragment:
        raise DeclarationError(
            f"that is no address of {kind}",
            expected="https://user:password@host:9200" if kind == "opensearch" else "https://:api-key@host:6333",
            got=f"{found.scheme or 'no scheme'}://{found.hostname or ''}",
        )
    try:
        if kind == "opensearch":
            from hallmark.retrieval.backends.opensearch import OpenSearchIndex

            return OpenSearchIndex(_opensearch(address, timeout), collection)
        from hallmark.retrieval.backends.qdrant import Qdrant

        return Qdrant(_qdrant(address, timeout), collection)
    except ModuleNotFoundError as error:
        raise not_installed(error, what="collection", otherwise="choose backend: folder") from error


def _opensearch(address: str, timeout: float) -> OpenSearch:
    from opensearchpy import OpenSearch

    return OpenSearch([address], timeout=timeout, max_retries=1, retry_on_timeout=False)


def _qdrant(address: str, timeout: float) -> QdrantClient:
    from qdrant_client import QdrantClient

    found = urlsplit(address)
    bare = found._replace(netloc=found.netloc.rpartition("@")[2]).geturl()
    key = unquote(found.password) if found.password else None
    return QdrantClient(bare, api_key=key, timeout=max(1, round(timeout)), check_compatibility=False)
