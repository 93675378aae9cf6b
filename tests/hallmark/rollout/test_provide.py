"""The ConfigMap of a serving config comes with a release, or was brought by Git where the caller may not create one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hallmark.declaration import domain as domains
from hallmark.errors import Conflict, HallmarkError, NotFound, Refused
from hallmark.render import inferenceservice
from hallmark.rollout.writer import InferenceServiceWriter
from hallmark.settings import Settings

CONFIG = inferenceservice.config_map(
    domains.load("fraud", Settings.load({"HALLMARK_ROOT": str(Path(__file__).parents[3])}))
)


class Answering(InferenceServiceWriter):
    """A writer whose API server answers a method with an object or an error."""

    def __init__(self, **answers: HallmarkError | dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []

    def _raw(self, method: str, path: str, body: Any = None, *, content: str = "application/json") -> dict[str, Any]:
        self.asked.append((method, path))
        found = self.answers[method]
        if isinstance(found, HallmarkError):
            raise found
        return found


def test_it_is_created_and_one_that_is_there_is_the_same() -> None:
    path = "/api/v1/namespaces/fraud/configmaps"
    for answer in (CONFIG, Conflict("it is there already")):
        writer = Answering(POST=answer)
        writer.provide(CONFIG)
        assert writer.asked == [("POST", path)]


def test_who_may_not_create_it_goes_on_with_the_one_from_git_and_is_told_where_there_is_none() -> None:
    Answering(POST=Refused("configmaps is forbidden"), GET=CONFIG).provide(CONFIG)
    with pytest.raises(Refused, match=CONFIG["metadata"]["name"]) as caught:
        Answering(POST=Refused("configmaps is forbidden"), GET=NotFound("not found")).provide(CONFIG)
    assert caught.value.got == "configmaps is forbidden" and "release again" in caught.value.fix
