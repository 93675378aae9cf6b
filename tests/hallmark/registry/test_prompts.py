"""Prompts as versions: one a digest, aliases by compare-and-set, checked bytes, and MLflow's page of prompts beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hallmark.errors import Conflict, ModelRefused, NotFound
from hallmark.prompts import prompt as prompts
from hallmark.prompts import sealed
from hallmark.registry.prompts import PromptRegistry, registered
from hallmark.registry.store import CHALLENGER, CHAMPION
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]
NAME = "authentication-review"


def test_a_prompt_is_a_version_by_its_digest_with_the_aliases_that_models_have(
    settings: Settings, tmp_path: Path
) -> None:
    registry = PromptRegistry(settings)
    whole = prompts.load(ROOT / "prompts", NAME)
    digest = sealed.seal(tmp_path / "one", whole)
    changed = whole.prompt.model_copy(update={"description": "Look twice."})
    other = sealed.seal(tmp_path / "two", whole.model_copy(update={"prompt": changed}))
    assert [registry.register(tmp_path / each) for each in ("one", "one", "two")] == [1, 1, 2]
    assert [(each.version, each.digest) for each in registry.versions(NAME)] == [(2, other), (1, digest)]
    assert registry.fetch(NAME, CHALLENGER).prompt.description == "Look twice."

    for none in ("champion", 7):
        with pytest.raises(NotFound, match=f"the prompt {NAME} has no version {none}") as told:
            registry.fetch(NAME, none)
        assert f"hallmark prompts register {NAME}" in told.value.fix and "prompt-" not in str(told.value)

    move = registry.registry.alias
    move(registered(NAME), CHAMPION, 2, expected=None)
    with pytest.raises(Conflict):
        move(registered(NAME), CHAMPION, 1, expected=None)
    move(registered(NAME), CHAMPION, 1, expected=2)
    found = registry.fetch(NAME, CHAMPION)
    assert (found.digest, found.golden) == (digest, whole.golden), "rolled back, to the same bytes"

    path = registry.resolve(NAME, 1).fetch()
    (path / "prompt.json").write_text((path / "prompt.json").read_text().replace("authentic", "authentik"))
    with pytest.raises(ModelRefused):
        registry.fetch(NAME, 1)

    with registry.registry._asked(registered(NAME)) as client:
        page = client.get_prompt_version(NAME, "1")
    assert page.tags["digest"] == digest and page.template[0]["role"] == "system"
