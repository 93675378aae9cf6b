# mypy: allow-untyped-decorators
"""The graph that takes batches of events in for the views of a domain, compiled for Kubeflow."""

from pathlib import Path
from typing import Any

from kfp import compiler, dsl, kubernetes

from components.features import materialize
from components.image import TRAINING_IMAGE
from hallmark import names
from hallmark.declaration import domain as domains
from hallmark.declaration import feature_view
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError
from hallmark.settings import FEATURE_LOG, FEATURE_OFFLINE, FEATURE_STORE, Settings
from pipelines.placement import place


def pipeline(declared: Domain, *, settings: Settings | None = None, image: str = TRAINING_IMAGE) -> Any:
    """The graph of one domain that declares `features`; `DeclarationError` where it does not.

    Its step is never cached, for its effect is elsewhere, and may be asked again: rows that come twice count once. Where the online store
    the event logs and the offline store are, the namespace's ConfigMap `feature-store` says.
    """
    if declared.features is None:
        raise DeclarationError(
            f"{declared.name} reads no feature views", expected="features.views in its domain.yaml", got="none"
        )
    views = [feature_view.load(each, settings) for each in declared.features.views]

    @dsl.pipeline(
        name=f"{declared.name}-features", description=f"Views that {declared.name} reads, from batches of events"
    )
    def graph(
        domain: str = declared.name,
        events: dict[str, str] = {view.source: "" for view in views},  # noqa: B006  Kubeflow never changes it
        into: str = "store",
    ) -> None:
        task = materialize(domain=domain, events=events, into=into).set_caching_options(False)
        place(task, declared, image=image)
        addresses = {"address": FEATURE_STORE, "log": FEATURE_LOG, "offline": FEATURE_OFFLINE}
        kubernetes.use_config_map_as_env(task, names.FEATURE_STORE, addresses, optional=True)

    return graph


def compile_to(path: Path, domain: str, *, image: str | None = None, settings: Settings | None = None) -> None:
    """Write the domain's graph as Kubeflow's intermediate representation; `image` instead of the unqualified one."""
    graph = pipeline(domains.load(domain, settings), settings=settings, image=image or TRAINING_IMAGE)
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(graph, str(path))


__all__ = ["TRAINING_IMAGE", "compile_to", "pipeline"]
