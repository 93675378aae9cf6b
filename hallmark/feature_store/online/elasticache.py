"""Passwords for Valkey and Redis in ElastiCache, whose users sign in by IAM: signed requests that hold for 15 minutes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from hallmark.feature_store import aws

SECONDS = 900
"""How long a token signs in. A connection lasts 12 hours, and the next one has the next token."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """User and password of each new connection of a user to a replication group."""

    user: str
    group: str
    region: str
    _session: list[Any] = field(default_factory=list, repr=False, compare=False)

    def __call__(self) -> tuple[str, str]:
        """The user, and a request to connect as that user, signed with this process's credentials of AWS."""
        from botocore.auth import SigV4QueryAuth  # type: ignore[import-untyped]
        from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]

        request = AWSRequest("GET", f"http://{self.group}/?{urlencode({'Action': 'connect', 'User': self.user})}")
        SigV4QueryAuth(self._credentials(), "elasticache", self.region, expires=SECONDS).add_auth(request)
        return self.user, str(request.url).removeprefix("http://")

    def _credentials(self) -> Any:
        from botocore.session import Session  # type: ignore[import-untyped]

        if not self._session:
            self._session.append(Session())
        if (found := self._session[0].get_credentials()) is None:
            raise aws.unsigned(self.group)
        return found.get_frozen_credentials()
