"""A model from Python: check, train, compare, load, predict."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from hallmark.api import shown
from hallmark.cli.options import SYNTHETIC

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.artifacts.model_card import ModelCard
    from hallmark.batch.predict import Predicted
    from hallmark.batch.scorer import Scorer
    from hallmark.declaration.domain import Domain
    from hallmark.errors import GateRefused
    from hallmark.registry.comparison import Comparison
    from hallmark.settings import Settings
    from hallmark.training.check import Finding
    from hallmark.training.run import TrainingOutcome


@dataclass(frozen=True)
class Findings(Sequence["Finding"]):
    """What `check` found, errors first."""

    domain: str
    found: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True where a training would not be refused for it."""
        return all(each.level != "error" for each in self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, place: Any) -> Any:
        return self.found[place]

    def _repr_html_(self) -> str:
        rows = [each.model_dump(include={"level", "what", "where", "fix"}) for each in self.found]
        return shown.table(rows, title=f"{self.domain}: {len(rows)} findings", empty="nothing to mend")


@dataclass(frozen=True)
class Training:
    """A training that ran to its end.

    version, digest: of what was registered; None where the gate refused it, or where it was a trial.
    """

    outcome: TrainingOutcome

    @property
    def domain(self) -> str:
        """Name of its domain."""
        return self.outcome.domain

    @property
    def version(self) -> int | None:
        """The registered version."""
        return self.outcome.version

    @property
    def digest(self) -> str | None:
        """Digest of the registered model folder."""
        return self.outcome.digest

    @property
    def passed(self) -> bool:
        """True where the gate let it pass."""
        return self.outcome.decision.passed

    @property
    def reasons(self) -> tuple[str, ...]:
        """What the gate says, refusals first."""
        return self.outcome.decision.reasons

    @property
    def refusal(self) -> GateRefused | None:
        """The gate's refusal, to raise."""
        return self.outcome.refusal

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics on the test examples."""
        return dict(self.outcome.evaluation.metrics)

    @property
    def errors(self) -> dict[str, float]:
        """Standard errors of the metrics that have one."""
        return dict(self.outcome.evaluation.errors)

    @property
    def plots(self) -> Path:
        """A page with the plots."""
        return self.outcome.plots

    def _repr_html_(self) -> str:
        of = f"version {self.version}" if self.version is not None else "no version"
        rows = [
            {"metric": name, "value": value, "± standard error": self.errors.get(name)}
            for name, value in self.metrics.items()
        ]
        following = f'next: hallmark.release("{self.domain}", {self.version})' if self.version is not None else ""
        return shown.table(rows, title=f"{self.domain}: {of}") + shown.lines(
            *(f"gate: {reason}" for reason in self.reasons), f"plots: {self.plots}", following
        )


@dataclass(frozen=True)
class Compared:
    """Two trainings beside each other."""

    found: Comparison

    @property
    def verdict(self) -> str:
        """The comparison by the gate's metric, in a sentence."""
        from hallmark.registry.comparison_page import verdict

        return verdict(self.found)

    @property
    def metrics(self) -> pd.DataFrame:
        """A row a metric: of both, their difference, its error, and whether that is told from chance."""
        import pandas as pd

        return pd.DataFrame([each.model_dump() for each in self.found.metrics]).set_index("metric")

    def save(self, path: str | Path) -> None:
        """Write the whole comparison as one page that needs no network."""
        from hallmark.registry.comparison_page import write

        write(Path(path), self.found)

    def _repr_html_(self) -> str:
        one, two = self.found.a.name, self.found.b.name
        rows = [
            {
                "metric": each.metric,
                one: each.a,
                two: each.b,
                "difference": each.difference,
                "± standard error": each.error,
                "told from chance": {True: "yes", False: "no", None: ""}[each.told],
            }
            for each in self.found.metrics
        ]
        differs = [
            {"differs": each.what, one: each.a, two: each.b}
            for each in (*self.found.options, *self.found.data, *self.found.code)
            if not each.same
        ]
        told = shown.table(rows, title=f"{one} and {two}") + shown.lines(self.verdict)
        return told + (shown.table(differs) if differs else "")


class Model:
    """A version of a model, loaded: the same bytes, code and answers as the server's."""

    def __init__(self, domain: Domain, version: int, scorer: Scorer, folder: Path) -> None:
        self.domain, self.version, self.folder = domain.name, version, folder
        self._scorer = scorer

    @property
    def digest(self) -> str:
        """Digest of the model folder."""
        return self._scorer.digest

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the columns that it reads."""
        return tuple(self._scorer.fields)

    @property
    def card(self) -> ModelCard:
        """Its model card."""
        from hallmark.artifacts import model_card

        return model_card.read(self.folder)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Answers to the n rows of `frame`, a column an output, by the index of the frame; columns that it does not read may be there.

        `ContractBroken` where a column is missing or a value is not what the model reads.
        """
        import pandas as pd

        from hallmark.errors import DeclarationError

        if not isinstance(frame, pd.DataFrame):
            raise DeclarationError(
                "records are asked about as a frame",
                expected=f"a pandas DataFrame with the columns {', '.join(self.fields)}",
                got=type(frame).__name__,
                fix="pandas.DataFrame(records)",
            )
        return self._scorer.answers(frame)

    def _repr_html_(self) -> str:
        rows = [{"field": name, "type": field.datatype} for name, field in self._scorer.fields.items()]
        return shown.table(rows, title=f"{self.domain} version {self.version}") + shown.lines(self.digest)


def check(domain: str, *, data: str | Path | None = None) -> Findings:
    """Findings about a domain's declaration, fields, columns and, with `data`, its own examples, before anything is trained."""
    from hallmark.cli import check as checks
    from hallmark.training import check as checking

    declared, settings = _declared(domain)
    frame = None if data is None else checks.examples(declared, Path(data), settings)
    return Findings(domain, tuple(checking.findings(declared, settings, data=frame)))


def train(
    domain: str,
    *,
    data: str | Path = SYNTHETIC,
    until: str = "",
    window: str = "",
    seed: int | None = None,
    shift: str | None = None,
    options: Mapping[str, Any] | None = None,
    experiment: str = "",
    champion: bool = True,
    quiet: bool = False,
) -> Training:
    """Run the domain's training pipeline here; steps that ran before on the same content are reused.

    data:       a file or folder of your own, or "synthetic".
    until:      train as of this day, such as "2026-10-01"; today, or the last day that your data allows.
    experiment: makes a trial of this name, and no version.
    champion:   whether the candidate is compared with the champion.
    A refusal of the gate is in the result; what stops a training earlier is raised (`ContractBroken`, `DeclarationError`, …).
    """
    from hallmark.cli.model import as_of, listed
    from hallmark.training import run

    settings = _declared(domain)[1].prepared()
    day = as_of(domain, str(data), until, settings)
    with _lines(quiet) as lines:
        outcome = run.train(
            domain,
            settings=settings,
            source=str(data),
            as_of=day,
            window=window,
            seed=seed,
            shift=shift,
            options=options,
            experiment=experiment,
            no_champion=not champion,
            report=listed(lines) if lines is not None else lambda event: None,
        )
    return Training(outcome)


def compare(domain: str, a: int | str, b: int | str) -> Compared:
    """Compare two trainings of a domain: versions, aliases, or runs of trials."""
    from hallmark.registry import comparison
    from hallmark.registry.store import Registry

    declared, settings = _declared(domain)
    return Compared(comparison.compare(domain, str(a), str(b), Registry(settings), declared.task.metrics()))


def load(domain: str, version: int | str = "champion") -> Model:
    """A registered version, by number or alias, to ask in this process with one thread, as the server does; every byte is checked by its digest."""
    from hallmark.artifacts import bundle
    from hallmark.batch.scorer import Scorer
    from hallmark.registry.store import Registry

    declared, settings = _declared(domain)
    found = Registry(settings).resolve(domain, version)
    folder = found.fetch()
    return Model(declared, found.version, Scorer(bundle.read(folder, expected=found.digest), threads=1), folder)


@overload
def predict(domain: str, data: pd.DataFrame, *, version: int | str = ...) -> pd.DataFrame: ...


@overload
def predict(
    domain: str,
    data: str | Path,
    *,
    out: str | Path,
    version: int | str = ...,
    keep: Sequence[str] = ...,
    quiet: bool = ...,
) -> Predicted: ...


def predict(
    domain: str,
    data: Any,
    *,
    out: str | Path | None = None,
    version: int | str = "champion",
    keep: Sequence[str] = (),
    quiet: bool = False,
) -> Any:
    """Answers to a frame as a frame; or to a whole file as a file, block by block, going on where it was stopped.

    data: a DataFrame, or a Parquet or CSV file; out: the file to write, of the same kinds; keep: columns to write beside the answers.
    """
    from hallmark.errors import DeclarationError

    if not isinstance(data, str | Path):
        if out is not None:
            raise DeclarationError(
                "a frame is answered with a frame",
                expected="no out=",
                got=str(out),
                fix="write the result yourself, or name a file as data",
            )
        return load(domain, version).predict(data)
    if out is None:
        raise DeclarationError("a file is answered with a file", expected="out=, a Parquet or CSV file", got="none")
    from hallmark.batch.predict import predict as scored
    from hallmark.registry.store import Registry

    declared, settings = _declared(domain)
    found = Registry(settings).resolve(domain, version)
    with _lines(quiet) as lines:
        if lines is None:
            return scored(declared, found, data=Path(data), out=Path(out), keep=keep)
        with lines.task(f"{domain} version {found.version}") as line:
            return scored(declared, found, data=Path(data), out=Path(out), keep=keep, progress=line.advance)


@contextlib.contextmanager
def _lines(quiet: bool) -> Iterator[Any]:
    from hallmark.cli.progress import TaskLines

    if quiet:
        yield None
        return
    with TaskLines() as lines:
        yield lines


def _declared(name: str) -> tuple[Domain, Settings]:
    from hallmark.cli.options import declaration

    return declaration(name)
