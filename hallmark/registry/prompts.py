"""Versions of prompts, in MLflow beside the models: one registered model a prompt, whose versions are sealed folders, with the same aliases.

MLflow's own registry of prompts gets the messages too, for its page. Nothing is ever read from there: it takes an alias for a version, and
what an alias names may be a minute old.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from hallmark.errors import NotFound
from hallmark.prompts import sealed
from hallmark.prompts.sealed import SealedPrompt
from hallmark.registry.store import CHALLENGER, Registry, ServableVersion, VersionLine
from hallmark.settings import Settings

_PREFIX = "prompt-"


def registered(name: str) -> str:
    """The name of a prompt's registered model."""
    return f"{_PREFIX}{name}"


class PromptRegistry:
    """The prompts' side of a registry."""

    def __init__(self, settings: Settings) -> None:
        self.registry = Registry(settings)

    def register(self, folder: Path, *, commit: str = "unknown") -> int:
        """Register the sealed prompt in `folder` as challenger; the same digest is the same version, and stays where it is."""
        prompt = sealed.read(folder, expected=None)
        name, registry = registered(prompt.prompt.name), self.registry
        with registry._asked(name, writing=True) as client, registry._alone():
            known = registry._of_digest(client, name, prompt.digest)
            if known is not None:
                return known
            registry._registered_model(client, name)
            run = client.create_run(registry._experiment(client, name), run_name=f"{name} {prompt.version}")
            try:
                with tempfile.TemporaryDirectory() as scratch:
                    copied = Path(scratch) / "prompt"
                    shutil.copytree(folder, copied, copy_function=shutil.copyfile)
                    client.log_artifacts(run.info.run_id, str(copied), "prompt")
                source = f"{run.info.artifact_uri}/prompt"
                tags = {"digest": prompt.digest, "data": "golden", "commit": commit, "metric": "golden", "value": "0.0"}
                made = client.create_model_version(name, source=source, run_id=run.info.run_id, tags=tags)
            except BaseException:
                with contextlib.suppress(Exception):  # the registry may be what is gone; the first error says so
                    client.set_terminated(run.info.run_id, status="FAILED")
                raise
            client.set_terminated(run.info.run_id)
            client.set_registered_model_alias(name, CHALLENGER, made.version)
            _shown(client, prompt)
            return int(made.version)

    def versions(self, name: str) -> list[VersionLine]:
        """All versions of a prompt, newest first."""
        return self.registry.versions(registered(name))

    def resolve(self, name: str, version: int | str) -> ServableVersion:
        """The version with this number or alias; "latest" is the newest."""
        try:
            return self.registry.resolve(registered(name), version)
        except NotFound as error:
            raise NotFound(
                f"the prompt {name} has no version {version}",
                expected="a registered version or alias",
                got=str(version),
                fix=f"`hallmark prompts list` tells the champion, and which version what lies here is; `hallmark prompts register {name}` makes one",
            ) from error

    def fetch(self, name: str, version: int | str) -> SealedPrompt:
        """The same, read and checked against its digest."""
        found = self.resolve(name, version)
        return sealed.read(found.fetch(), expected=found.digest)


def _shown(client: object, prompt: SealedPrompt) -> None:
    """Give MLflow's own registry of prompts what its page shows; whatever fails there, the version is registered."""
    from mlflow.exceptions import MlflowException

    messages = [{"role": each.role, "content": each.text} for each in prompt.prompt.messages]
    with contextlib.suppress(MlflowException, AttributeError):
        client.register_prompt(  # type: ignore[attr-defined]
            prompt.prompt.name,
            messages,
            commit_message=prompt.prompt.description,
            tags={"digest": prompt.digest},
            response_format=prompt.prompt.answer.schema_.json_schema,
        )
