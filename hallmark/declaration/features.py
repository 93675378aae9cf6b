"""Features that the platform looks up for a request, so that callers send whom it is about and not what it knows of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator

from hallmark.declaration import feature_view
from hallmark.errors import DeclarationError
from hallmark.section import Duration, Section

Missing = Literal["refuse", "default"]


class Features(Section):
    """Views whose columns are fields of the model: what `features.py` declares under a column's name is not sent by callers any more.

    views:   name@version of each, pinned: a version of the model reads these and no others, as long as it is served.
    missing: where a field that is not optional has no value, or the store does not answer in time. refuse: the request, with 503 where
             the store failed and 422 where it knows nothing of the entity. default: the column's `default`, and the answer says so.
    wait:    how long a request waits for its features at most.
    """

    views: Annotated[tuple[str, ...], Field(min_length=1)]
    missing: Missing = "refuse"
    wait: Duration = timedelta(milliseconds=30)

    @field_validator("views")
    @classmethod
    def _pinned(cls, views: tuple[str, ...]) -> tuple[str, ...]:
        names = []
        for each in views:
            try:
                names.append(feature_view.parted(each)[0])
            except DeclarationError as error:
                raise ValueError(f"expected {error.expected}; got {each!r}") from error
        if len(set(names)) < len(names):
            raise ValueError(f"expected each view once, in one version; got {', '.join(views)}")
        return views

    @field_validator("wait")
    @classmethod
    def _short(cls, wait: timedelta) -> timedelta:
        if not timedelta(milliseconds=1) <= wait <= timedelta(seconds=1):
            raise ValueError("expected 1ms to 1s")
        return wait
