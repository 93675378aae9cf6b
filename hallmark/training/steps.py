"""The steps of every domain's training, as plain functions of files: what the components call, here and in a cluster."""

from __future__ import annotations

import inspect
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError
from hallmark.settings import Settings
from hallmark.training.step import Uses, progress, step

SYNTHETIC = "synthetic"
UNDATED = "2026-01-01T00:00:00+00:00"
"""The day that synthetic data of a domain without event times is drawn for: always the same."""

_FRAMES = ("numpy", "pandas", "pyarrow")
_MODELS = ("numpy", "torch", "lightgbm", "scikit-learn", "pillow")
_COMMON = ("training/step.py", "training/steps.py", "features/*.py", "data/dataset.py")
_MINE = ("run.py", "chain.py", "process.py", "cache.py", "journal.py", "model_card.py", "store.py", "summary.py")
_AWAY = ("submit.py", "runs_here.py", "graph.py", "kubeflow.py", "schedule.py", "cron.py", "pods.py")
_AFTER_FIT = (
    "evaluate.py",
    "metrics.py",
    "plots.py",
    "gate.py",
    "export.py",
    "split.py",
    "leakage.py",
    "quantize.py",
    "precision.py",
    "race.py",
)

LOAD = Uses((*_COMMON, "data/*.py"), ("data", "features"), ("data",), (*_FRAMES, "pillow"))
VALIDATE = Uses((*_COMMON, "data/*.py"), ("data", "features"), ("data",), (*_FRAMES, "pandera"))
SPLIT = Uses(
    (*_COMMON, *(f"training/{it}.py" for it in ("split", "leakage", "metrics"))), ("features",), ("data",), _FRAMES
)
TRAIN = Uses(
    (*_COMMON, "training/*.py", "learners/*.py"),
    ("features", "model"),
    ("data",),
    _MODELS,
    (*_MINE, *_AWAY, *_AFTER_FIT),
)
QUANTIZE = Uses(
    (*_COMMON, "training/*.py", "learners/*.py", "registry/*.py"),
    ("features", "model"),
    ("data", "gate", "serving.precision"),
    (*_MODELS, *_FRAMES, "onnx", "onnxruntime", "onnxscript", "sympy"),
    _MINE,
)
EVALUATE = Uses(
    (*_COMMON, "training/*.py", "learners/*.py"),
    ("features", "model"),
    ("data", "gate"),
    (*_MODELS, "matplotlib", "onnxruntime"),
    _MINE,
)
COMPARE = Uses(
    (*_COMMON, "training/*.py", "registry/*.py"),
    ("features", "model"),
    ("data", "gate"),
    (*_FRAMES, "onnxruntime"),
    _MINE,
)
GATE = Uses(("training/step.py", "training/steps.py", "training/gate.py"), (), ("gate",))
EXPORT = Uses(
    (*_COMMON, "training/*.py", "learners/*.py", "registry/*.py", "drift/*.py", "data/*.py"),
    ("data", "features", "model", "serving"),
    ("data", "training", "drift"),
    (*_MODELS, *_FRAMES, "onnx", "onnxruntime", "onnxscript"),
    _MINE,
)
REGISTER = Uses(())


def day(text: str, fallback: str = "") -> str:
    """A day or time as ISO 8601 in UTC; midnight of today where neither `text` nor `fallback` is one."""
    for candidate in (text, fallback):
        if candidate and not candidate.startswith("{{"):  # a placeholder that nothing filled in
            return _utc(candidate).isoformat()
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).isoformat()


def span(domain: Domain, as_of: str, window: str) -> tuple[datetime, datetime]:
    """The event times a model learns from: `window` long, ending where labels are final at `as_of`."""
    end = _utc(as_of) - domain.data.label_delay
    return end - length(window), end


def origin(source: str) -> Path | str:
    """A team's own file or folder, whose content counts; "synthetic" and what lies elsewhere as named."""
    return source if source == SYNTHETIC or "://" in source else Path(source)


def whole(options: dict[str, Any]) -> dict[str, Any]:
    """Options as they were given: Kubeflow hands every number over as a float, so 3 epochs come as 3.0."""
    return {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in options.items()}


def length(window: str) -> timedelta:
    """A duration such as 30d, as domain.yaml writes it."""
    from hallmark.section import duration

    try:
        return duration(window)
    except ValueError as error:
        raise DeclarationError(
            "the window is not a duration", expected="a duration such as 12h or 30d", got=repr(window)
        ) from error


@step(uses=LOAD, reads=("source",), writes=("examples",))
def load(domain: str, *, source: Path | str, as_of: str, window: str, seed: int, shift: str, examples: Path) -> str:
    """Write the domain's examples to one Parquet file; give the time they are as of."""
    from hallmark.data import dataset
    from hallmark.training import source as sources

    declared = domains.load(domain)
    start, end = span(declared, as_of, window)
    frame = sources.load(domain, source=str(source), start=start, end=end, seed=seed, shift=shift or None)
    dataset.write(frame, examples)
    return as_of


@step(uses=VALIDATE, reads=("examples",), writes=("facts", "summary"))
def validate(domain: str, *, examples: Path, facts: Path, summary: Path) -> None:
    """Check the examples against the domain's contract, and write down what they are; `ContractBroken` stops the run."""
    from hallmark.artifacts.model_card import Facts
    from hallmark.data import contract, dataset

    declared = domains.load(domain)
    schema = domains.module(domain, "data").contract()
    frame = dataset.read(examples)
    contract.check(schema, frame, f"the examples of {domain}")
    time = declared.data.event_time
    found = Facts(
        digest=dataset.digest(examples),
        rows=len(frame),
        columns=tuple(map(str, frame.columns)),
        contract=contract.digest(schema),
        first=frame[time].min().to_pydatetime() if time and len(frame) else None,
        last=frame[time].max().to_pydatetime() if time and len(frame) else None,
    )
    _write(facts, found.model_dump_json(indent=2))
    when = f", {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}" if found.first and found.last else ""
    _write(summary, f"# {domain}: {found.rows} examples{when}\n\nContract kept. Content {found.digest}\n")


@step(uses=SPLIT, reads=("examples",), writes=("training", "validation", "test"))
def split(domain: str, *, as_of: str, seed: int, examples: Path, training: Path, validation: Path, test: Path) -> None:
    """Part the examples so that the test says what serving will see: by time with final labels, or by entity.

    seed: the declared one, from run to run, so that a champion is never tested on an entity it was trained on.
    """
    from hallmark.data import dataset
    from hallmark.training import split as splitting

    declared = domains.load(domain)
    parts = splitting.split(declared, dataset.read(examples), as_of=_utc(as_of), seed=seed)
    dataset.write(parts.train, training)
    dataset.write(parts.validation, validation)
    dataset.write(parts.test, test)


def elsewhere(**addresses: str) -> dict[str, str]:
    """Where artifacts lie for other machines, by name; empty where all of it is on this one."""
    return addresses if all("://" in each for each in addresses.values()) else {}


@step(uses=TRAIN, reads=("training", "validation"), writes=("trained",))
def train(
    domain: str,
    *,
    seed: int,
    options: dict[str, Any],
    training: Path,
    validation: Path,
    trained: Path,
    addresses: dict[str, str] | None = None,
) -> None:
    """Fit the domain's model and keep it in its own form, weights only.

    addresses: of training, validation and trained, where others reach them: a domain that declares several nodes is trained on them.
    """
    from hallmark.data import dataset
    from hallmark.learners.model import examples, spec

    if addresses and domains.load(domain).training.nodes > 1:
        from hallmark.training import distributed

        distributed.train(
            domain,
            seed=seed,
            options=whole(options),
            training=training,
            validation=validation,
            trained=trained,
            addresses=addresses,
            code=TRAIN.digest(domain, Settings.load()),
        )
        return
    model = spec(domains.load(domain))
    kept = checkpoint(trained) if "checkpoint" in inspect.signature(model.fit).parameters else None
    fitted = model.fit(
        examples(domain, dataset.read(training)),
        examples(domain, dataset.read(validation)),
        seed=seed,
        progress=progress("train"),
        **({"checkpoint": kept} if kept else {}),
        **whole(options),
    )
    trained.mkdir(parents=True, exist_ok=True)
    fitted.save(trained)
    if kept:
        shutil.rmtree(kept, ignore_errors=True)


def checkpoint(trained: Path) -> Path | None:
    """Where a killed training goes on from: beside the drafts of the step cache, by the same key; none where no cache keeps it."""
    draft = trained.parent.parent
    return draft.parent.parent / "checkpoints" / draft.name if draft.parent.name == "drafts" else None


def _champion(domain: str) -> dict[str, Any]:
    from hallmark.errors import NotFound
    from hallmark.registry.store import Registry

    try:
        champion = Registry(Settings.load()).resolve(domain, "champion")
    except NotFound:
        return {"champion": None, "champion_version": None}
    return {"champion": champion.fetch(), "champion_version": champion.version}


@step(
    uses=QUANTIZE,
    reads=("trained", "training", "test", "champion"),
    writes=("candidate", "precision", "summary"),
    prepare=_champion,
    says=True,
)
def quantize(
    domain: str,
    *,
    seed: int,
    trained: Path,
    training: Path,
    test: Path,
    candidate: Path,
    precision: Path,
    summary: Path,
    champion: Path | None = None,
    champion_version: int | None = None,
) -> str:
    """Give the trained model an int8 form where the gate allows it and it is faster; say which ships, in a line.

    candidate: the trained model, and int8.onnx beside it where that ships; precision: why, and what was measured.
    """
    from hallmark.data import dataset
    from hallmark.training import precision as precisions

    shutil.copytree(trained, candidate, dirs_exist_ok=True)
    found = precisions.choose(
        domains.load(domain),
        candidate,
        training=dataset.read(training),
        test=dataset.read(test),
        seed=seed,
        champion=champion,
        progress=progress("quantize"),
    )
    _write(precision, found.model_dump_json(indent=2))
    _write(summary, f"# {domain}: {found.kept}\n\n" + "".join(f"- {reason}\n" for reason in found.reasons))
    return found.line


@step(uses=EVALUATE, reads=("trained", "test"), writes=("evaluation", "plots", "slices"))
def evaluate(domain: str, *, trained: Path, test: Path, evaluation: Path, plots: Path, slices: Path) -> dict[str, Any]:
    """Score the test examples with what is to ship; give what Kubeflow shows: metrics, and a ROC curve or a confusion matrix."""
    from hallmark.data import dataset
    from hallmark.learners.model import examples
    from hallmark.tasks.charts import Confusion
    from hallmark.training import evaluate as evaluating
    from hallmark.training import plots as plotting
    from hallmark.training import precision as precisions

    declared = domains.load(domain)
    frame = dataset.read(test)
    encoded = examples(domain, frame)
    scores = precisions.predict(domain, trained, encoded.given)
    found = evaluating.evaluate(declared, scores, frame)
    _write(evaluation, found.model_dump_json(indent=2))
    _write(plots, plotting.html(found, title=f"{domain}: candidate"))
    _write(slices, _slices(found))
    shown: dict[str, Any] = {"metrics": found.metrics, "roc": None, "confusion": None}
    for chart in found.charts:
        if isinstance(chart, Confusion):
            shown["confusion"] = [list(chart.labels), [list(row) for row in chart.counts]]
        elif chart.metric == "roc_auc":
            shown["roc"] = _roc(encoded.labels, scores)
    return shown


@step(uses=COMPARE, reads=("evaluation", "test", "champion"), writes=("decision", "summary"), prepare=_champion)
def compare(
    domain: str,
    *,
    evaluation: Path,
    test: Path,
    decision: Path,
    summary: Path,
    champion: Path | None = None,
    champion_version: int | None = None,
) -> None:
    """Judge the candidate by the domain's gate, beside the champion of now on the same test examples."""
    from hallmark.artifacts.evaluation import Evaluation
    from hallmark.artifacts.folder import verify
    from hallmark.artifacts.model_card import Champion, Judgement
    from hallmark.data import dataset
    from hallmark.learners.model import spec, task_of
    from hallmark.training import evaluate as evaluating
    from hallmark.training import gate as gating
    from hallmark.training.export import score_folder

    declared = domains.load(domain)
    candidate = Evaluation.model_validate_json(evaluation.read_bytes())
    theirs, beside = None, None
    if champion is not None and champion_version is not None:
        digest = verify(champion)
        frame = dataset.read(test)
        theirs = evaluating.evaluate(declared, score_folder(champion, frame, expected=digest), frame)
        beside = Champion(version=champion_version, digest=digest, metrics=theirs.metrics)
    metrics = task_of(declared, spec(declared)).metrics()
    found = gating.decide(declared.gate, candidate, theirs, metrics=metrics)
    _write(decision, Judgement(decision=found, champion=beside).model_dump_json(indent=2))
    verdict = "passed" if found.passed else "refused"
    _write(summary, f"# {domain}: {verdict}\n\n" + "".join(f"- {reason}\n" for reason in found.reasons))


@step(uses=GATE, reads=("decision",))
def gate(domain: str, *, decision: Path) -> bool:
    """Whether the candidate passed: the one thing that the graph branches on."""
    from hallmark.artifacts.model_card import Judgement

    return Judgement.model_validate_json(decision.read_bytes()).decision.passed


@step(uses=EXPORT, reads=("trained", "test", "source"), writes=("model", "parity"))
def export(
    domain: str,
    *,
    trained: Path,
    test: Path,
    model: Path,
    parity: Path,
    source: Path | str = "",
    as_of: str = "",
    seed: int = 0,
) -> str:
    """Write the sealed model folder and how far ONNX is from the trained model, in float32; give the model's digest.

    source, as_of, seed: of the examples, where the domain declares drift.history: last year's come from there too.
    """
    from hallmark.artifacts.folder import verify
    from hallmark.data import dataset
    from hallmark.learners.model import spec
    from hallmark.training import export as exporting
    from hallmark.training import precision as precisions

    declared = domains.load(domain)
    restored = spec(declared).restore(trained)
    model.mkdir(parents=True, exist_ok=True)
    frame = dataset.read(test)
    int8 = precisions.chosen(trained)
    seasons = _seasons(declared, str(source), as_of, seed) if source else []
    found = exporting.export(declared, restored, model, test=frame, reference=frame, int8=int8, seasons=seasons)
    _write(parity, found.model_dump_json(indent=2))
    return verify(model)


def _seasons(declared: Domain, source: str, as_of: str, seed: int) -> list[Any]:
    """Last year's rows of the parts of the year that are coming, where the source reaches back so far and they are many."""
    from hallmark.drift import season
    from hallmark.errors import HallmarkError
    from hallmark.training import source as sources
    from hallmark.training.export import Part

    time, length = declared.data.event_time, declared.drift.history
    if not length or not time:
        return []
    start = _utc(as_of) - timedelta(days=365)
    try:
        rows = sources.load(declared.name, source=source, start=start, end=start + length, seed=seed)
    except HallmarkError:  # the team's own data begins later than that
        return []
    found = []
    for first, after in season.parts(start, start + length):
        part = rows[(rows[time] >= first) & (rows[time] < after)].reset_index(drop=True)
        if len(part) >= declared.drift.minimum:
            found.append(Part(first.date(), (after - timedelta(seconds=1)).date(), part))
    return found


@step(uses=REGISTER, kept=False)
def register(
    domain: str,
    *,
    origin: str,
    as_of: str,
    seed: int,
    shift: str,
    options: dict[str, Any],
    model: Path,
    parity: Path,
    facts: Path,
    evaluation: Path,
    decision: Path,
    plots: Path,
    precision: Path | None = None,
    correlation: str = "",
) -> int:
    """Register the model with its model card, once by digest, as challenger; give its version."""
    from hallmark.artifacts import model_card as model_cards
    from hallmark.artifacts.evaluation import Evaluation, Parity
    from hallmark.artifacts.precision import Precision
    from hallmark.registry.store import Registry

    settings = Settings.load()
    found = model_cards.issue(
        domain,
        model,
        origin=origin,
        as_of=as_of,
        seed=seed,
        shift=shift,
        options=whole(options),
        correlation=correlation,
        facts=model_cards.Facts.model_validate_json(facts.read_bytes()),
        evaluation=Evaluation.model_validate_json(evaluation.read_bytes()),
        judgement=model_cards.Judgement.model_validate_json(decision.read_bytes()),
        parity=Parity.model_validate_json(parity.read_bytes()),
        precision=Precision.model_validate_json(precision.read_bytes()) if precision else Precision(),
        root=settings.root,
    )
    return Registry(settings).register(model, found, plots={"evaluation.html": plots, "evaluation.json": evaluation})


def _utc(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise DeclarationError(
            "the time is not a day", expected="a day such as 2026-10-31, UTC", got=repr(text)
        ) from error
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _roc(labels: Any, scores: Any) -> list[list[float]]:
    """False positive rate, true positive rate and threshold, at most 200 points each."""
    import numpy as np
    from sklearn.metrics import roc_curve

    curve = roc_curve(labels, scores)
    keep = np.unique(np.linspace(0, len(curve[0]) - 1, 200).astype(int))
    return [np.clip(part[keep].astype(float), 0.0, 1.0).round(6).tolist() for part in curve]


def _slices(found: Any) -> str:
    lines = [f"| slice | rows | {found.metric} |", "|---|---:|---:|"]
    for part in found.slices:
        value = "not told" if part.metric is None else f"{part.metric:.3f}"
        lines.append(f"| {part.column} = {part.value} | {part.rows} | {value} |")
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """The JSON in a file that a step wrote."""
    return json.loads(path.read_bytes())
