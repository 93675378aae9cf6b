"""Cluster that a command works on: --kubeconfig, --context, --dry-run, and the notice before another one is changed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hallmark.cli.console import say
from hallmark.errors import HallmarkError

if TYPE_CHECKING:
    from hallmark.rollout.plan import PlannedWriter
    from hallmark.rollout.writer import InferenceServiceWriter
    from hallmark.settings import Settings

Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        help="The cluster to talk to; default: the one of `hallmark up`, else kubectl's own.", show_default=False
    ),
]
Context = Annotated[
    str | None,
    typer.Option("--context", help="A context of that kubeconfig, or of kubectl's own.", show_default=False),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing; print the objects and the kubectl commands that would do it.")
]


def connected(
    settings: Settings, kubeconfig: Path | None, context: str | None = None, *, changes: bool = False
) -> InferenceServiceWriter:
    """Client of the chosen cluster; with `changes`, one that is not the local cluster is named on stderr first."""
    from hallmark.rollout import clusters
    from hallmark.rollout.writer import InferenceServiceWriter

    choice = clusters.choose(settings, kubeconfig=_there(kubeconfig), context=context)
    writer = InferenceServiceWriter(clusters.client(choice))
    if changes and not choice.here:
        say(f"cluster  {writer.host}" + (f", context {choice.context}" if choice.context else ""))
    return writer


@contextlib.contextmanager
def planned(
    settings: Settings, kubeconfig: Path | None, context: str | None, *, name: str = ""
) -> Iterator[PlannedWriter]:
    """A client that writes commands to stdout, and at the end what the release.yaml of domain `name` would become."""
    from hallmark.artifacts import release as releases
    from hallmark.rollout import clusters, operations
    from hallmark.rollout.plan import PlannedWriter

    choice = clusters.choose(settings, kubeconfig=_there(kubeconfig), context=context)

    def tell(text: str) -> None:
        sys.stdout.write(text + "\n")

    writer = PlannedWriter(clusters.client(choice), flags=choice.flags, tell=tell)
    yield writer
    live = writer.live(name) if name and writer.changed else None
    if live is not None:
        before, after = releases.read(name, settings), operations.record_of(writer, live).release
        if after != before and after.stable is not None:
            tell(f"# then {settings.shown(releases.path(name, settings))} becomes:")
            tell("\n".join(f"#   {line}" for line in releases.text(name, after).splitlines()))
            if after.stable != before.stable:
                tell(f"# and version {after.stable.version} the champion of {name} in the registry")
    say(f"nothing was changed on {writer.host}")


def quiet(_: str) -> None:
    """Says nothing of what was not done."""


def _there(kubeconfig: Path | None) -> Path | None:
    if kubeconfig is not None and not kubeconfig.is_file():
        raise HallmarkError(
            f"there is no kubeconfig {kubeconfig}",
            expected="a file",
            got="none",
            fix="run `hallmark up`, or name another",
        )
    return kubeconfig
