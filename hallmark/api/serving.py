"""What is served from Python: release, promote, roll back, status, drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark.api import shown

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.rollout.acts import Deed
    from hallmark.rollout.verdicts import VariantVerdict
    from hallmark.rollout.writer import InferenceServiceWriter
    from hallmark.settings import Settings

_SECONDS = 120.0


@dataclass(frozen=True)
class Released:
    """An act that was done.

    stable: the version that is stable by it; None where it is a candidate still.
    said:   what was told on the way.
    """

    domain: str
    kind: str
    version: int | None
    stable: int | None
    said: tuple[str, ...]

    def _repr_html_(self) -> str:
        now = (
            f"version {self.stable} is stable" if self.stable is not None else f"version {self.version} is a candidate"
        )
        return shown.lines(f"{self.domain}: {self.kind}", now, *self.said)


@dataclass(frozen=True)
class Status(Sequence[dict[str, Any]]):
    """What is live: a row a pod of each revision."""

    rows: tuple[dict[str, Any], ...]
    host: str

    @property
    def frame(self) -> pd.DataFrame:
        """The same as a frame."""
        import pandas as pd

        return pd.DataFrame(list(self.rows))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        return self.rows[place]

    def _repr_html_(self) -> str:
        return shown.table(self.rows, title=f"live on {self.host}", empty=f"nothing is live on {self.host}")


@dataclass(frozen=True)
class DriftReport(Sequence["VariantVerdict"]):
    """Verdicts of the drift monitors, one a variant."""

    domain: str
    variants: tuple[VariantVerdict, ...]

    @property
    def drifted(self) -> tuple[str, ...]:
        """The variants whose verdict is DRIFT."""
        return tuple(each.variant for each in self.variants if each.state == "DRIFT")

    @property
    def columns(self) -> pd.DataFrame:
        """A row a column of each variant: how far it is from the reference, and whether that is drift."""
        import pandas as pd

        rows = [
            {"variant": each.variant, **column}
            for each in self.variants
            for column in each.verdict.get("columns") or []
        ]
        return pd.DataFrame(rows)

    def __len__(self) -> int:
        return len(self.variants)

    def __getitem__(self, place: Any) -> Any:
        return self.variants[place]

    def _repr_html_(self) -> str:
        rows = [
            {
                "variant": each.variant,
                "version": each.version,
                "verdict": each.state,
                "rows": each.verdict.get("rows", 0),
                "why": "; ".join(each.verdict.get("reasons") or []),
            }
            for each in self.variants
        ]
        return shown.table(rows, title=f"{self.domain}: drift")


def release(
    domain: str,
    version: int | str,
    *,
    percent: int = 10,
    shadow: bool = False,
    why: str = "",
    timeout: float = _SECONDS,
    kubeconfig: str | Path | None = None,
    context: str | None = None,
) -> Released:
    """Give a registered version a share of the traffic, or a shadow of it; the first of a domain gets all. Returns once it serves.

    percent: 0 to 100.   timeout: seconds.   why: for the history.
    """
    from hallmark.cli.options import declaration
    from hallmark.errors import DeclarationError
    from hallmark.rollout import acts

    if not 0 <= percent <= 100:
        raise DeclarationError("the share is no percentage", expected="0 to 100", got=str(percent))
    declared, settings = declaration(domain)
    deed = acts.release(declared, settings, str(version), percent=percent, shadow=shadow, why=why, seconds=timeout)
    return _done(deed, settings, kubeconfig, context)


def promote(
    domain: str,
    *,
    why: str = "",
    timeout: float = _SECONDS,
    kubeconfig: str | Path | None = None,
    context: str | None = None,
) -> Released:
    """Make the candidate the stable version: all traffic; release.yaml and the registry follow."""
    from hallmark.cli.options import declaration
    from hallmark.rollout import acts

    declared, settings = declaration(domain)
    return _done(acts.promote(declared, why=why, seconds=timeout), settings, kubeconfig, context)


def rollback(
    domain: str,
    *,
    why: str = "",
    timeout: float = _SECONDS,
    kubeconfig: str | Path | None = None,
    context: str | None = None,
) -> Released:
    """Send all traffic back to the version before, at once; release.yaml and the registry follow."""
    from hallmark.cli.options import declaration
    from hallmark.rollout import acts

    declared, settings = declaration(domain)
    return _done(acts.rollback(domain, declared, why=why, seconds=timeout), settings, kubeconfig, context)


def status(*domains: str, kubeconfig: str | Path | None = None, context: str | None = None) -> Status:
    """What is live of these domains, or of all: each revision, its version, its share, and whether it is ready."""
    from hallmark.rollout.status import live_rows
    from hallmark.settings import Settings

    writer = _connected(Settings.load(), kubeconfig, context)
    return Status(tuple(live_rows(writer, list(domains))), str(writer.host))


def drift_report(
    domain: str,
    *,
    html: str | Path | None = None,
    variant: str = "stable",
    kubeconfig: str | Path | None = None,
    context: str | None = None,
) -> DriftReport:
    """The drift monitors' verdict on each variant.

    html: write Evidently's report on the window of `variant` to this file.
    """
    from hallmark.cli import verdict
    from hallmark.settings import Settings

    settings = Settings.load()
    writer = _connected(settings, kubeconfig, context)
    found = verdict.collect(writer, domain)
    if html is not None:
        verdict.report(writer, found, variant=variant, name=domain, path=Path(html), settings=settings)
    return DriftReport(domain, tuple(found))


def _done(deed: Deed, settings: Settings, kubeconfig: str | Path | None, context: str | None) -> Released:
    from hallmark.rollout import acts

    said: list[str] = []
    writer = _connected(settings, kubeconfig, context, changes=True)
    stable = acts.carry_out(deed, writer, settings, note=said.append)
    return Released(deed.domain, deed.kind, deed.version, stable.version if stable else None, tuple(said))


def _connected(
    settings: Settings, kubeconfig: str | Path | None, context: str | None, *, changes: bool = False
) -> InferenceServiceWriter:
    from hallmark.cli.clusters import connected

    return connected(settings, None if kubeconfig is None else Path(kubeconfig), context, changes=changes)
