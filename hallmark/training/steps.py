"""The steps of every domain's training, as plain functions of files: what the components call, here and in a cluster."""

from __future__ import annotations

import contextlib
import inspect
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError
from hallmark.section import EXACT
from hallmark.settings import SYNTHETIC as SYNTHETIC
from hallmark.settings import Settings
from hallmark.training.signature import Addresses, FoundAtRun, Reads, Shows, Writes
from hallmark.training.step import progress, step

UNDATED = "2026-01-01T00:00:00+00:00"
"""The day that synthetic data of a domain without event times is drawn for: always the same."""


def day(text: str, fallback: str = "") -> str:
    """A day or time as ISO 8601 in UTC; midnight of today where neither `text` nor `fallback` is one."""
    for candidate in (text, fallback):
        if candidate and not candidate.startswith("{{"):  # a placeholder that nothing filled in
            return utc(candidate).isoformat()
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).isoformat()


def span(domain: Domain, as_of: str, window: str) -> tuple[datetime, datetime]:
    """The event times a model learns from: `window` long, ending where labels are final at `as_of`."""
    end = utc(as_of) - domain.data.label_delay
    return end - length(window), end


def origin(source: str) -> Path | str:
    """A team's own file or folder, whose content counts; "synthetic" and what lies elsewhere as named."""
    return source if source == SYNTHETIC or "://" in source else Path(source)


def whole(options: Any) -> Any:
    """Options as they were given, those within lists too: Kubeflow hands every number over as a float, so 3 epochs come as 3.0."""
    if isinstance(options, dict):
        return {name: whole(value) for name, value in options.items()}
    if isinstance(options, list):
        return [whole(value) for value in options]
    exact = isinstance(options, float) and options.is_integer() and abs(options) <= EXACT
    return int(options) if exact else options


def length(window: str) -> timedelta:
    """A duration such as 30d, as domain.yaml writes it."""
    from hallmark.section import duration

    try:
        return duration(window)
    except ValueError as error:
        raise DeclarationError(
            "the window is not a duration", expected="a duration such as 12h or 30d", got=repr(window)
        ) from error


def _held(domain: str, *, source: Path | str = "") -> dict[str, Any]:
    """What decides the fields that feature views give, by digest: declarations, and rows that are stored here."""
    from hallmark.training import view_join

    settings = Settings.load()
    return {"source": source, "held": view_join.held(domains.load(domain, settings), str(source), settings)}


def _dated(domain: str, *, source: Path | str, as_of: str, scheduled: str = "") -> dict[str, Any]:
    return {"as_of": day(as_of, scheduled), **_held(domain, source=source)}


@step(prepare=_dated)
def load(
    domain: str,
    *,
    source: Annotated[Path | str, Reads(named=origin)],
    as_of: str,
    window: str,
    seed: int,
    shift: str,
    examples: Annotated[Path, Writes("Dataset")],
    held: Annotated[dict[str, str] | None, FoundAtRun()] = None,
) -> str:
    """Write the domain's examples to one Parquet file; give the time they are as of: `as_of`, else when the run was scheduled."""
    from hallmark.data import dataset
    from hallmark.training import kept_set
    from hallmark.training import source as sources

    declared = domains.load(domain)
    start, end = span(declared, as_of, window)
    frame, origin = sources.traced(
        domain, source=str(source), start=start, end=end, seed=seed, shift=shift or None, held=held
    )
    if origin is not None:
        origin = kept_set.keep(declared, frame, origin, Settings.load())
    dataset.write(frame, examples, note=origin.model_dump_json() if origin else "")
    return as_of


@step()
def validate(
    domain: str,
    *,
    examples: Annotated[Path, Reads("Dataset")],
    facts: Annotated[Path, Writes()],
    summary: Annotated[Path, Writes("Markdown")],
) -> None:
    """Check the examples against the domain's contract, and write down what they are; `ContractBroken` stops the run."""
    from hallmark.artifacts.model_card import DatasetFacts, FeatureOrigin
    from hallmark.data import contract, dataset

    declared = domains.load(domain)
    schema = domains.module(domain, "data").contract()
    frame = dataset.read(examples)
    contract.check(schema, frame, f"the examples of {domain}")
    time, note = declared.data.event_time, dataset.noted(examples)
    found = DatasetFacts(
        digest=dataset.digest(examples),
        rows=len(frame),
        columns=tuple(map(str, frame.columns)),
        contract=contract.digest(schema),
        first=frame[time].min().to_pydatetime() if time and len(frame) else None,
        last=frame[time].max().to_pydatetime() if time and len(frame) else None,
        features=FeatureOrigin.model_validate_json(note) if note else None,
    )
    _write(facts, found.model_dump_json(indent=2))
    when = f", {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}" if found.first and found.last else ""
    _write(summary, f"# {domain}: {found.rows} examples{when}\n\nContract kept. Content {found.digest}\n")


@step()
def split(
    domain: str,
    *,
    as_of: str,
    seed: int,
    examples: Annotated[Path, Reads("Dataset")],
    training: Annotated[Path, Writes("Dataset")],
    validation: Annotated[Path, Writes("Dataset")],
    test: Annotated[Path, Writes("Dataset")],
    seen: Annotated[Path, Writes()],
) -> None:
    """Part the examples so that the test says what serving will see: by time with final labels, or by entity.

    seed: the declared one, from run to run, so that a champion is never tested on an entity it was trained on.
    seen: which rows a model of this learns from, for later comparisons with it.
    """
    from hallmark.data import dataset
    from hallmark.training import rows_seen
    from hallmark.training import split as splitting

    declared = domains.load(domain)
    parts = splitting.split(declared, dataset.read(examples), as_of=utc(as_of), seed=seed)
    dataset.write(parts.train, training)
    dataset.write(parts.validation, validation)
    dataset.write(parts.test, test)
    rows_seen.write(declared, seen, parts.train, parts.validation)


@step()
def train(
    domain: str,
    *,
    seed: int,
    options: dict[str, Any],
    training: Annotated[Path, Reads("Dataset")],
    validation: Annotated[Path, Reads("Dataset")],
    trained: Annotated[Path, Writes("Model")],
    history: Annotated[Path, Writes()],
    addresses: Annotated[dict[str, str] | None, Addresses()] = None,
) -> None:
    """Fit the domain's model and keep it in its own form, weights only.

    history: how long it took, and the learning curve where the learner tells one.
    addresses: of training, validation and trained, where others reach them: a domain that declares several nodes is trained on them.
    """
    from hallmark.data import dataset
    from hallmark.learners.model import examples, spec
    from hallmark.training.curve import Curve

    curve = Curve(progress("train"))
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
            code=train.code(domain, Settings.load()),
        )
        _write(history, curve.fit.model_dump_json())
        return
    model = spec(domains.load(domain))
    kept = checkpoint(trained) if "checkpoint" in inspect.signature(model.fit).parameters else None
    fitted = model.fit(
        examples(domain, dataset.read(training)),
        examples(domain, dataset.read(validation)),
        seed=seed,
        progress=curve,
        **({"checkpoint": kept} if kept else {}),
        **whole(options),
    )
    trained.mkdir(parents=True, exist_ok=True)
    fitted.save(trained)
    if kept:
        shutil.rmtree(kept, ignore_errors=True)
    _write(history, curve.fit.model_dump_json())


def checkpoint(trained: Path) -> Path | None:
    """Checkpoint of a killed training: beside the drafts of the step cache, by the same key; none where no cache keeps it."""
    draft = trained.parent.parent
    return draft.parent.parent / "checkpoints" / draft.name if draft.parent.name == "drafts" else None


def _champion(domain: str, *, source: str = SYNTHETIC, no_champion: bool = False) -> dict[str, Any]:
    """The champion of now, and why a candidate that learns from `source` is not compared with it, where it is not."""
    from hallmark.artifacts import model_card as model_cards
    from hallmark.errors import ModelRefused, NotFound
    from hallmark.registry.store import Registry
    from hallmark.training import rivals

    try:
        champion = Registry(Settings.load()).resolve(domain, "champion")
    except NotFound:
        return {"champion": None, "champion_version": None, "skipped": ""}
    folder, skipped = champion.fetch(), ""
    with contextlib.suppress(ModelRefused):  # a card from before there was a form of it says nothing of data
        learnt = model_cards.read(folder).request.origin
        skipped = rivals.strangers(learnt == SYNTHETIC, source == SYNTHETIC, version=champion.version)
    return {
        "champion": folder,
        "champion_version": champion.version,
        "skipped": rivals.NOT_ASKED if no_champion else skipped,
    }


@step(prepare=_champion, summary=True)
def quantize(
    domain: str,
    *,
    seed: int,
    trained: Annotated[Path, Reads("Model")],
    training: Annotated[Path, Reads("Dataset")],
    test: Annotated[Path, Reads("Dataset")],
    candidate: Annotated[Path, Writes("Model")],
    precision: Annotated[Path, Writes()],
    summary: Annotated[Path, Writes("Markdown")],
    champion: Annotated[Path | None, Reads("Model"), FoundAtRun()] = None,
    champion_version: Annotated[int | None, FoundAtRun()] = None,
    skipped: Annotated[str, FoundAtRun()] = "",
) -> str:
    """Give the trained model an int8 form where the gate allows it and it is faster; say which ships, in a line.

    candidate: the trained model, and int8.onnx beside it where that ships; precision: why, and what was measured.
    """
    from hallmark.data import dataset
    from hallmark.training import precision as precisions
    from hallmark.training import rivals

    shutil.copytree(trained, candidate, dirs_exist_ok=True)
    declared, frame = domains.load(domain), dataset.read(test)
    met = rivals.Terms()
    if champion is not None and champion_version is not None:
        met = rivals.terms(declared, champion, frame, version=champion_version, skipped=skipped)
    found = precisions.choose(
        declared,
        candidate,
        training=dataset.read(training),
        test=frame,
        seed=seed,
        champion=None if met.skipped else champion,
        unseen=met.some,
        progress=progress("quantize"),
    )
    _write(precision, found.model_dump_json(indent=2))
    _write(summary, f"# {domain}: {found.kept}\n\n" + "".join(f"- {reason}\n" for reason in found.reasons))
    return found.line


@step()
def load_corpus(
    domain: str,
    *,
    source: Annotated[Path | str, Reads(named=origin)],
    as_of: str,
    seed: int,
    shift: str,
    corpus: Annotated[Path, Writes("Dataset")],
    summary: Annotated[Path, Writes("Markdown")],
) -> None:
    """Write the items that answers are taken from as of a day, checked against their contract, to one Parquet file."""
    from hallmark.data import dataset
    from hallmark.training import source as sources

    frame = sources.corpus(domain, source=str(source), at=utc(as_of), seed=seed, shift=shift or None)
    dataset.write(frame, corpus)
    said = f"{len(frame)} items, contract kept. Content {dataset.digest(corpus)}"
    _write(summary, f"# {domain}: {said}\n")


def _borrowed(domain: str) -> dict[str, Any]:
    """The version whose encoder it is, where that is another domain's; `NotFound` names it where it is not there."""
    declared = domains.load(domain)
    if declared.retrieval is None or declared.retrieval.borrowed is None:
        return {"encoder": None}
    from hallmark.registry.store import Registry

    name, version = declared.retrieval.borrowed
    return {"encoder": Registry(Settings.load()).resolve(name, version).fetch()}


def _lent(declared: Domain, encoder: Path | None) -> Any:
    from hallmark.training import index as indexing

    return indexing.lent(encoder, declared.retrieval.encoder) if encoder and declared.retrieval else None


@step(prepare=_borrowed, summary=True)
def embed(
    domain: str,
    *,
    trained: Annotated[Path, Reads("Model")],
    corpus: Annotated[Path, Reads("Dataset")],
    test: Annotated[Path, Reads("Dataset")],
    vectors: Annotated[Path, Writes("Dataset")],
    encoder: Annotated[Path | None, Reads("Model"), FoundAtRun()] = None,
) -> str:
    """Encode every item of the corpus, and the golden queries, with the encoder that is to serve; say how many, in a line."""
    from hallmark.data import dataset
    from hallmark.learners.model import spec
    from hallmark.training import index as indexing
    from hallmark.training import precision as precisions

    declared, items = domains.load(domain), dataset.read(corpus)
    found = indexing.embed(
        declared,
        spec(declared).restore(trained),
        vectors,
        items=items,
        queries=indexing.golden(declared, dataset.read(test)),
        int8=precisions.chosen(trained),
        borrowed=_lent(declared, encoder),
        progress=progress("embed"),
    )
    left = len(items) - found
    return f"{found} items have a vector" + (f"; {left} have none and are left out" if left else "")


@step(prepare=_borrowed, summary=True)
def build_index(
    domain: str,
    *,
    vectors: Annotated[Path, Reads("Dataset")],
    corpus: Annotated[Path, Reads("Dataset")],
    index: Annotated[Path, Writes("Model")],
    encoder: Annotated[Path | None, Reads("Model"), FoundAtRun()] = None,
) -> str:
    """Build the index of the items that have a vector: links or lists, words, and the columns that filter; say what it is, in a line."""
    from hallmark.training import index as indexing

    declared = domains.load(domain)
    card = indexing.build(declared, vectors, corpus, index, borrowed=_lent(declared, encoder))
    return f"{card.items} items, {card.kind} of {card.codes}"


@step()
def measure_recall(
    domain: str,
    *,
    index: Annotated[Path, Reads("Model")],
    vectors: Annotated[Path, Reads("Dataset")],
    corpus: Annotated[Path, Reads("Dataset")],
    recall: Annotated[Path, Writes()],
    summary: Annotated[Path, Writes("Markdown")],
) -> None:
    """Measure how many of the ten nearest items the index finds, by selectivity, on golden queries that it was not tuned on."""
    from hallmark.data import dataset
    from hallmark.training import index as indexing

    declared = domains.load(domain)
    found = indexing.measure(declared, index, vectors, corpus_items=len(dataset.read(corpus)))
    _write(recall, found.model_dump_json(indent=2))
    lines = ["| of the items | recall@10 | 95% interval | way |", "|---:|---:|---|---|"]
    lines += [
        f"| {row.selectivity:.1%} | {row.recall:.4f} | {row.low:.4f} to {row.high:.4f} | {row.path} |"
        for row in found.recall
    ]
    _write(summary, f"# {domain}: {found.line}\n\n" + "\n".join(lines) + "\n")


@step()
def evaluate(
    domain: str,
    *,
    trained: Annotated[Path, Reads("Model")],
    test: Annotated[Path, Reads("Dataset")],
    evaluation: Annotated[Path, Writes()],
    scores: Annotated[Path, Writes()],
    plots: Annotated[Path, Writes("HTML")],
    slices: Annotated[Path, Writes("Markdown")],
) -> Annotated[dict[str, Any], Shows()]:
    """Score the test examples with what is to ship; give what Kubeflow shows: metrics, and a ROC curve or a confusion matrix."""
    from hallmark.data import dataset
    from hallmark.learners.model import examples, spec
    from hallmark.tasks.charts import Confusion
    from hallmark.training import evaluate as evaluating
    from hallmark.training import importance
    from hallmark.training import plots as plotting
    from hallmark.training import precision as precisions

    declared = domains.load(domain)
    frame = dataset.read(test)
    encoded = examples(domain, frame)
    made = precisions.predict(domain, trained, encoded.given)
    others = precisions.others(domain, trained, encoded.given)
    figures = precisions.figures(domain, trained, encoded)
    completed = precisions.completed(domain, trained, encoded)
    found = evaluating.evaluate(declared, made, frame, others=others, figures=figures, completed=completed)
    restored = spec(declared).restore(trained)
    found = found.model_copy(update={"importance": importance.measured(declared, restored.predict, frame)})
    _write_scores(scores, made)
    _write(evaluation, found.model_dump_json(indent=2))
    _write(plots, plotting.html(found, title=f"{domain}: candidate"))
    _write(slices, _slices(found))
    shown: dict[str, Any] = {"metrics": found.metrics, "roc": None, "confusion": None}
    for chart in found.charts:
        if isinstance(chart, Confusion):
            shown["confusion"] = [list(chart.labels), [list(row) for row in chart.counts]]
        elif chart.metric == "roc_auc":
            shown["roc"] = _roc(encoded.labels, made)
    return shown


@step(summary=True)
def calibrate(
    domain: str,
    *,
    trained: Annotated[Path, Reads("Model")],
    validation: Annotated[Path, Reads("Dataset")],
    test: Annotated[Path, Reads("Dataset")],
    scores: Annotated[Path, Reads()],
    thresholds: Annotated[Path, Writes()],
    summary: Annotated[Path, Writes("Markdown")],
) -> str:
    """Find the thresholds up to which the decision may accept without a person, by slice, on the latest examples; say where one holds, in a line.

    scores: of what is to ship, on the test examples, of which nothing was learnt.   NO_THRESHOLD where none keeps the declared risk.
    """
    import numpy as np

    from hallmark.data import dataset
    from hallmark.training import calibration

    found = calibration.calibrated(
        domains.load(domain),
        trained,
        validation=dataset.read(validation),
        test=dataset.read(test),
        scores=np.load(scores, allow_pickle=False),
    )
    _write(thresholds, found.model_dump_json(indent=2))
    _write(summary, f"# {domain}: {found.line}\n\n{calibration.markdown(found)}")
    return found.line


@step(prepare=_champion)
def compare(
    domain: str,
    *,
    evaluation: Annotated[Path, Reads()],
    scores: Annotated[Path, Reads()],
    test: Annotated[Path, Reads("Dataset")],
    decision: Annotated[Path, Writes()],
    summary: Annotated[Path, Writes("Markdown")],
    recall: Annotated[Path | None, Reads()] = None,
    champion: Annotated[Path | None, Reads("Model"), FoundAtRun()] = None,
    champion_version: Annotated[int | None, FoundAtRun()] = None,
    skipped: Annotated[str, FoundAtRun()] = "",
) -> None:
    """Judge the candidate by the domain's gate, beside the champion of now on the test examples that the champion has not learnt from, and its index by its floors.

    scores: of the candidate on all test examples.   skipped: why the champion is left out.
    """
    import numpy as np

    from hallmark.artifacts.evaluation import Evaluation
    from hallmark.artifacts.folder import verify
    from hallmark.artifacts.index_report import IndexReport
    from hallmark.artifacts.model_card import Champion, GateJudgement
    from hallmark.data import dataset
    from hallmark.learners.model import spec, task_of
    from hallmark.training import evaluate as evaluating
    from hallmark.training import gate as gating
    from hallmark.training import rivals
    from hallmark.training.export import evaluate_folder

    declared = domains.load(domain)
    candidate = Evaluation.model_validate_json(evaluation.read_bytes())
    theirs, mine, judged = None, None, None
    if champion is not None and champion_version is not None:
        frame = dataset.read(test)
        met = rivals.terms(declared, champion, frame, version=champion_version, skipped=skipped)
        skipped = met.skipped
        if skipped:
            judged = Champion(version=champion_version, digest=verify(champion), skipped=skipped)
        else:
            if met.some is not None:
                frame = frame[met.some].reset_index(drop=True)
                mine = evaluating.evaluate(declared, np.load(scores, allow_pickle=False)[met.some], frame)
            digest, theirs = evaluate_folder(declared, champion, frame)
            rows = None if met.rows is None else len(frame)
            judged = Champion(version=champion_version, digest=digest, metrics=theirs.metrics, rows=rows)
    metrics = task_of(declared, spec(declared)).metrics()
    found = gating.decide(declared.gate, candidate, theirs, metrics=metrics, beside=mine, skipped=skipped)
    if recall is not None and declared.retrieval is not None:
        report = IndexReport.model_validate_json(recall.read_bytes())
        found = gating.recalled(found, report, declared.retrieval.required)
    _write(decision, GateJudgement(decision=found, champion=judged).model_dump_json(indent=2))
    outcome = "passed" if found.passed else "refused"
    _write(summary, f"# {domain}: {outcome}\n\n" + "".join(f"- {reason}\n" for reason in found.reasons))


@step()
def gate(domain: str, *, decision: Annotated[Path, Reads()], experiment: str = "") -> bool:
    """The one thing that the graph branches on: true where the candidate passed, and is more than a trial of an experiment.

    `dsl.If` on a named output is skipped silently, and the run says it succeeded; so this has one output and it has no name.
    """
    from hallmark.artifacts.model_card import GateJudgement

    return GateJudgement.model_validate_json(decision.read_bytes()).decision.passed and not experiment


def _exported(domain: str, *, source: Path | str = "") -> dict[str, Any]:
    return {**_held(domain, source=source), **_borrowed(domain)}


@step(prepare=_exported)
def export(
    domain: str,
    *,
    trained: Annotated[Path, Reads("Model")],
    test: Annotated[Path, Reads("Dataset")],
    model: Annotated[Path, Writes("Model")],
    parity: Annotated[Path, Writes()],
    source: Annotated[Path | str, Reads(named=origin)] = "",
    as_of: str = "",
    seed: int = 0,
    index: Annotated[Path | None, Reads("Model")] = None,
    examples: Annotated[Path | None, Reads("Dataset")] = None,
    training: Annotated[Path | None, Reads("Dataset")] = None,
    held: Annotated[dict[str, str] | None, FoundAtRun()] = None,
    encoder: Annotated[Path | None, Reads("Model"), FoundAtRun()] = None,
) -> str:
    """Write the sealed model folder and how far ONNX is from the trained model, in float32; give the model's digest.

    source, as_of, seed: of the examples, where the domain declares drift.history: last year's come from there too.
    examples: all of them, where the test part is not like what will be asked: the drift monitor compares with these.
    training: of a model with references, which are taken from there.
    """
    from hallmark.artifacts.folder import verify
    from hallmark.data import dataset
    from hallmark.learners.model import spec
    from hallmark.training import export as exporting
    from hallmark.training import precision as precisions
    from hallmark.training import split as splitting

    declared = domains.load(domain)
    restored = spec(declared).restore(trained)
    model.mkdir(parents=True, exist_ok=True)
    frame = dataset.read(test)
    int8 = precisions.chosen(trained)
    seasons = _seasons(declared, str(source), as_of, seed, held) if source else []
    usual = frame if examples is None else splitting.usual(declared, dataset.read(examples))
    found = exporting.export(
        declared, restored, model, test=frame, reference=usual, int8=int8, seasons=seasons, index=index,
        borrowed=_lent(declared, encoder), training=None if training is None else dataset.read(training),
    )  # fmt: skip
    _write(parity, found.model_dump_json(indent=2))
    return verify(model)


def _seasons(declared: Domain, source: str, as_of: str, seed: int, held: dict[str, str] | None) -> list[Any]:
    """Last year's rows of the parts of the year that are coming, where the source reaches back so far and they are many."""
    from hallmark.drift import season
    from hallmark.errors import Conflict, HallmarkError
    from hallmark.training import source as sources
    from hallmark.training.export import SeasonRows

    time, length = declared.data.event_time, declared.drift.history
    if not length or not time:
        return []
    start = utc(as_of) - timedelta(days=365)
    try:
        rows, _ = sources.traced(declared.name, source=source, start=start, end=start + length, seed=seed, held=held)
    except Conflict:
        raise
    except HallmarkError:  # the team's own data, or what is stored for its views, begins later than that
        return []
    found = []
    for first, after in season.parts(start, start + length):
        part = rows[(rows[time] >= first) & (rows[time] < after)].reset_index(drop=True)
        if len(part) >= declared.drift.minimum:
            found.append(SeasonRows(first.date(), (after - timedelta(seconds=1)).date(), part))
    return found


@step(kept=False)
def register(
    domain: str,
    *,
    source: str,
    as_of: str,
    seed: int,
    shift: str,
    options: dict[str, Any],
    model: Annotated[Path, Reads("Model")],
    parity: Annotated[Path, Reads()],
    facts: Annotated[Path, Reads()],
    evaluation: Annotated[Path, Reads()],
    decision: Annotated[Path, Reads()],
    plots: Annotated[Path, Reads("HTML")],
    precision: Annotated[Path | None, Reads()] = None,
    seen: Annotated[Path | None, Reads()] = None,
    history: Annotated[Path | None, Reads()] = None,
    recall: Annotated[Path | None, Reads()] = None,
    thresholds: Annotated[Path | None, Reads()] = None,
    correlation: str = "",
) -> int:
    """Register the model with its model card, once by digest, as challenger; give its version."""
    from hallmark.artifacts import model_card as model_cards
    from hallmark.artifacts.evaluation import Evaluation, Parity
    from hallmark.artifacts.index_report import IndexReport
    from hallmark.artifacts.precision import Precision
    from hallmark.artifacts.thresholds import Thresholds
    from hallmark.artifacts.trial import Fit
    from hallmark.registry.store import Registry

    settings = Settings.load()
    found = model_cards.issue(
        domain,
        model,
        origin=Path(source).name,
        as_of=as_of,
        seed=seed,
        shift=shift,
        options=whole(options),
        correlation=correlation,
        facts=model_cards.DatasetFacts.model_validate_json(facts.read_bytes()),
        evaluation=Evaluation.model_validate_json(evaluation.read_bytes()),
        judgement=model_cards.GateJudgement.model_validate_json(decision.read_bytes()),
        parity=Parity.model_validate_json(parity.read_bytes()),
        precision=Precision.model_validate_json(precision.read_bytes()) if precision else Precision(),
        index=IndexReport.model_validate_json(recall.read_bytes()) if recall else None,
        thresholds=Thresholds.model_validate_json(thresholds.read_bytes()) if thresholds else None,
        root=settings.root,
        rows_seen=seen,
        code=_code(domain, settings),
    )
    fitted = Fit.model_validate_json(history.read_bytes()) if history else None
    drawn = {"evaluation.html": plots, "evaluation.json": evaluation}
    return Registry(settings).register(model, found, plots=drawn, rows_seen=seen, fit=fitted)


@step(kept=False)
def log(
    domain: str,
    *,
    source: str,
    as_of: str,
    seed: int,
    shift: str,
    options: dict[str, Any],
    experiment: str,
    facts: Annotated[Path, Reads()],
    evaluation: Annotated[Path, Reads()],
    decision: Annotated[Path, Reads()],
    plots: Annotated[Path, Reads("HTML")],
    history: Annotated[Path, Reads()],
    correlation: str = "",
) -> str:
    """Log a training that becomes no version, refused or of an experiment, with its reasons; give its run in MLflow."""
    from hallmark.artifacts import model_card as model_cards
    from hallmark.artifacts.evaluation import Evaluation
    from hallmark.artifacts.trial import Fit, Trial
    from hallmark.files import digest_file
    from hallmark.registry.store import Registry

    settings = Settings.load()
    measured = Evaluation.model_validate_json(evaluation.read_bytes())
    judged = model_cards.GateJudgement.model_validate_json(decision.read_bytes())
    found = Trial(
        domain=domain,
        outcome="experiment" if experiment else "refused",
        experiment=experiment,
        created=datetime.now(UTC).replace(microsecond=0),
        request=model_cards.TrainingRequest(
            origin=Path(source).name,
            as_of=as_of,
            seed=seed,
            shift=shift,
            options=whole(options),
            correlation=correlation,
        ),
        data=model_cards.DatasetFacts.model_validate_json(facts.read_bytes()),
        code=_code(domain, settings),
        features=digest_file(settings.domains / domain / "features.py"),
        libraries=model_cards.libraries_here(),
        test=measured.test,
        test_rows=measured.rows,
        metric=measured.metric,
        metrics=measured.metrics,
        errors=measured.errors,
        slices=tuple(each.brief for each in measured.slices),
        beside=tuple(each.brief for each in measured.beside),
        decision=judged.decision,
        champion=judged.champion,
        fit=Fit.model_validate_json(history.read_bytes()),
    )
    return Registry(settings).log(found, plots={"evaluation.html": plots, "evaluation.json": evaluation})


def _code(domain: str, settings: Settings) -> Any:
    """The commit of the checkout, and the digest of all code that decides what a training of the domain learns."""
    from hallmark.artifacts import model_card as model_cards
    from hallmark.training.journal import Journal
    from hallmark.training.step import finder

    digest = train.code(domain, settings, finder=finder(domain, settings) if Journal.current() else None)
    return model_cards.checkout(settings.root).model_copy(update={"digest": f"sha256:{digest}"})


INDEXED = ("load_corpus", "embed", "build_index", "measure_recall")
"""Steps of a domain that answers with items alone."""
DECIDED = ("calibrate",)
"""Steps of a domain that declares a decision alone."""


def utc(text: str) -> datetime:
    """A day or time of ISO 8601, in UTC where it names no zone; `DeclarationError` where it is none."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise DeclarationError(
            "the time is not a day", expected="a day such as 2026-10-31, UTC", got=repr(text)
        ) from error
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _write_scores(path: Path, scores: Any) -> None:
    """As .npy without pickles: what is no number is text."""
    import numpy as np

    values = np.asarray(scores)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        np.save(stream, values.astype(str) if values.dtype == object else values, allow_pickle=False)


def _roc(labels: Any, scores: Any) -> list[list[float]]:
    """False positive rate, true positive rate and threshold, at most 200 points each."""
    import numpy as np
    from sklearn.metrics import roc_curve

    curve = roc_curve(labels, scores)
    keep = np.unique(np.linspace(0, len(curve[0]) - 1, 200).astype(int))
    return [np.clip(part[keep].astype(float), 0.0, 1.0).round(6).tolist() for part in curve]


def _slices(found: Any) -> str:
    lines = []
    if found.beside:
        names = list(found.beside[0].metrics)
        lines += [f"| | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
        for who, metrics in (("model", found.metrics), *((each.name, each.metrics) for each in found.beside)):
            lines.append(f"| {who} | " + " | ".join(f"{metrics.get(name, float('nan')):.4f}" for name in names) + " |")
        lines.append("")
    more = list(dict.fromkeys(name for part in found.slices for name in part.others))
    lines += [f"| {' | '.join(['slice', 'rows', found.metric, *more])} |", "|---|---:|---:|" + "---:|" * len(more)]
    for part in found.slices:
        value = "not told" if part.metric is None else f"{part.metric:.3f}"
        others = [f"{part.others[name].value:.3f}" if name in part.others else "not told" for name in more]
        lines.append(f"| {' | '.join([f'{part.column} = {part.value}', str(part.rows), value, *others])} |")
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """The JSON in a file that a step wrote."""
    return json.loads(path.read_bytes())
