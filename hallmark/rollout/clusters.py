"""Cluster to work on: a kubeconfig and a context in it, as kubectl has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from hallmark.errors import NotFound, Unavailable
from hallmark.settings import Settings


class ClusterChoice(BaseModel):
    """A kubeconfig, kubectl's own ($KUBECONFIG, else ~/.kube/config) where it is none, and a context, its current one by default.

    here: is it the local cluster of these settings?
    """

    model_config = ConfigDict(frozen=True)

    file: Path | None = None
    context: str | None = None
    here: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags that make kubectl choose the same cluster."""
        file = () if self.file is None else ("--kubeconfig", str(self.file))
        return file + (() if self.context is None else ("--context", self.context))


def choose(settings: Settings, *, kubeconfig: Path | None = None, context: str | None = None) -> ClusterChoice:
    """The cluster that is meant; `NotFound` names the contexts that there are.

    --kubeconfig, with --context in it; --context alone: in kubectl's own kubeconfig, or the local cluster's; neither: the
    local cluster where `hallmark up` made one, running or not, else kubectl's own current context.
    """
    mine = settings.kubeconfig if settings.kubeconfig.is_file() else None
    if context is None:
        file = kubeconfig or mine
        return ClusterChoice(file=file, here=file is not None and mine is not None and file.resolve() == mine.resolve())
    places = [kubeconfig] if kubeconfig else [None, *([mine] if mine else [])]
    known: list[str] = []
    for place in places:
        contexts = _contexts(place)
        if context in contexts:
            return ClusterChoice(file=place, context=context, here=place is not None and place == mine)
        known += [each for each in contexts if each not in known]
    raise NotFound(
        f"there is no context {context!r}" + (f" in {kubeconfig}" if kubeconfig else ""),
        expected="one of " + (", ".join(known) or "none, since there is no kubeconfig"),
        got=repr(context),
        fix="`kubectl config get-contexts` lists them; $KUBECONFIG or --kubeconfig names another file",
    )


def client(choice: ClusterChoice) -> Any:
    """A client of the `kubernetes` package for that cluster; `Unavailable` where there is no kubeconfig that can be read."""
    from kubernetes import client as kubernetes
    from kubernetes import config

    configuration = kubernetes.Configuration()
    try:
        config.load_kube_config(
            str(choice.file) if choice.file else None, context=choice.context, client_configuration=configuration
        )
    except (config.ConfigException, OSError, yaml.YAMLError) as error:
        raise Unavailable(
            "there is no cluster to talk to",
            expected="a kubeconfig that can be read",
            got=str(error),
            fix="run `hallmark up`, or name one with --kubeconfig or --context",
        ) from error
    configuration.retries = 0
    if token := _token_file(choice):
        # The package reads it once, and a pod's token is another one every day.
        configuration.refresh_api_key_hook = lambda fresh: fresh.api_key.update(authorization=_bearer(token))
    return kubernetes.ApiClient(configuration)


def _bearer(token: Path) -> str:
    return f"Bearer {token.read_text(encoding='utf-8').strip()}"


def _token_file(choice: ClusterChoice) -> Path | None:
    """The file that the chosen context's user has its token in; none where it has another credential, or kubectl's own is meant."""
    if choice.file is None:
        return None
    raw = yaml.safe_load(choice.file.read_text(encoding="utf-8"))
    context = _named(raw.get("contexts"), choice.context or raw.get("current-context")).get("context") or {}
    user = _named(raw.get("users"), context.get("user")).get("user") or {}
    return choice.file.parent / user["tokenFile"] if user.get("tokenFile") else None


def _named(listed: list[dict[str, Any]] | None, name: str | None) -> dict[str, Any]:
    return next((each for each in listed or [] if each.get("name") == name), {})


def _contexts(place: Path | None) -> list[str]:
    from kubernetes import config

    try:
        found, _ = config.list_kube_config_contexts(str(place) if place else None)
    except (config.ConfigException, OSError, yaml.YAMLError):
        return []
    return [str(each["name"]) for each in found]
