"""A trained model as the folder that the registry keeps and the server loads."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts import bundle, views
from hallmark.artifacts import folder as folders
from hallmark.artifacts.evaluation import Parity
from hallmark.artifacts.signature import Signature
from hallmark.declaration import domain as domains
from hallmark.errors import Conflict, DeclarationError, ModelRefused
from hallmark.features import code
from hallmark.features.encoding import Features, loaded
from hallmark.features.fields import Columns
from hallmark.learners import onnx_model
from hallmark.learners.model import columns, examples, requested, spec, task_of
from hallmark.policy import served
from hallmark.training import evaluate, references
from hallmark.training.index import Lent, all_assets, put
from hallmark.training.index import declared as retriever

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.artifacts.bundle import Bundle
    from hallmark.artifacts.evaluation import Evaluation
    from hallmark.declaration.domain import Domain
    from hallmark.learners.model import Examples, Trained
    from hallmark.settings import Settings
    from hallmark.tasks.task import BaseTask

PROFILE_ROWS = 20_000
PHOTO_ROWS = 2_000
SAMPLE_ROWS = 2_000


class SeasonRows(NamedTuple):
    """Rows of one part of last year, from the day `first` to the day `last`, both inside."""

    first: date
    last: date
    rows: pd.DataFrame


def export(
    domain: Domain,
    trained: Trained,
    folder: Path,
    *,
    test: pd.DataFrame,
    reference: pd.DataFrame,
    int8: Path | None = None,
    seasons: Sequence[SeasonRows] = (),
    index: Path | None = None,
    borrowed: Lent | None = None,
    training: pd.DataFrame | None = None,
    settings: Settings | None = None,
) -> Parity:
    """Write the sealed model folder (all but the model card); `ModelRefused` where ONNX and trained model differ.

    It appears whole or not at all. `reference` is what the drift monitor compares with: rows like those that will come,
    which the model was not trained on, or its scores are rosier than what serving sees. Where `int8` is given it is what
    serves, as it was judged, byte for byte; the float32 model it came of still has to answer as the trained one does.
    `seasons` are last year's rows of parts of the year that are coming. Of a domain that answers with items, `index` is the folder of
    its index, and `borrowed` the encoder where that is another's; `Conflict` where they do not go together. `training` has the
    references of a model that answers some.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / folders.MANIFEST).is_file():
        raise Conflict(f"{folder} holds something else", expected="an empty or a model folder", got=folder.name)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        parity = _write(
            domain, trained, part, test=test, reference=reference, int8=int8, seasons=seasons, index=index,
            borrowed=borrowed, training=training, settings=settings,
        )  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return parity


def _write(
    domain: Domain,
    trained: Trained,
    folder: Path,
    *,
    test: pd.DataFrame,
    reference: pd.DataFrame,
    int8: Path | None,
    seasons: Sequence[SeasonRows],
    index: Path | None,
    borrowed: Lent | None,
    training: pd.DataFrame | None,
    settings: Settings | None,
) -> Parity:
    features = domains.module(domain.name, "features", settings)
    declared = spec(domain, settings)
    task = task_of(domain, declared)
    path = folder / "model.onnx"
    trained.export(path)
    onnx_model.tidy(path)
    trained.save(folder)
    held = all_assets(domain, borrowed, settings)
    signature = Signature(
        domain=domain.name,
        task=task,
        fields=features.FIELDS,
        outputs=declared.outputs,
        labels=declared.labels,
        inputs=declared.inputs,
        assets=tuple(held),
        views=views.uses(domain, features.FIELDS, settings),
        retriever=retriever(domain, borrowed=borrowed, settings=settings) if domain.retrieval else None,
        references=declared.references,
        choice=served.declared(domain),
    )
    (folder / "signature.json").write_text(signature.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for name, content in (held | (borrowed.files if borrowed else {})).items():
        (folder / name).write_bytes(content)
    for source in (Path(str(features.__file__)).with_name(name) for name in ("features.py", "serving.py")):
        if source.is_file():
            shutil.copyfile(source, folder / source.name)
    encoded = examples(domain.name, test, settings=settings)
    inputs = encoded.given
    parity = _parity(task, trained, path, encoded, signature)
    if int8 is not None:
        shutil.copyfile(int8, path)
        _answers(path, inputs, signature)
    _reference(domain, folder, reference, signature, seasons)
    if index is not None:
        put(folder, index)
    if declared.references is not None:
        references.put(folder, signature, domain.data.label, training)
    folders.seal(folder)
    return parity


def _parity(task: BaseTask, trained: Trained, path: Path, test: Examples, signature: Signature) -> Parity:
    exported, single = _answers(path, test.given, signature)
    expected, targets = trained.predict(test.given), test.targets
    few = np.arange(len(single))
    gaps = [task.parity(expected, exported, targets), task.parity(expected[few], single, targets.take(few))]
    wrong = [gap for gap in gaps if not gap.kept]
    if wrong:
        raise ModelRefused(
            "the ONNX model does not answer as the trained one does",
            expected=f"a difference ({wrong[0].kind}) of at most {wrong[0].tolerance:g} over {len(test)} test rows",
            got=f"{wrong[0].value:g}",
            fix="look at export in the domain's model.py",
        )
    return Parity(rows=len(test), difference=gaps[0].value, tolerance=gaps[0].tolerance, kind=gaps[0].kind)


def _answers(
    path: Path, inputs: NDArray[Any] | Mapping[str, NDArray[Any]], signature: Signature
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The first output for all rows, and for the first few one at a time: a batch axis that is not truly free shows there."""
    running = onnx_model.session(path)
    onnx_model.agrees(running, signature.outputs, inputs=[each.name for each in signature.inputs])
    output = signature.outputs[0]
    exported = onnx_model.run(running, inputs, [output.name])[output.name]
    onnx_model.within(exported, output)
    few = {name: each[:8] for name, each in inputs.items()} if isinstance(inputs, Mapping) else inputs[:8]
    single = onnx_model.run(running, few, [output.name], batch=1)[output.name]
    return exported, single


def _reference(
    domain: Domain, folder: Path, frame: pd.DataFrame, signature: Signature, seasons: Sequence[SeasonRows]
) -> None:
    """profile.json over many rows, reference.parquet with a few of them, and embeddings where the domain has them."""
    import pandas as pd

    from hallmark.drift import embedding, profile

    photos = any(field.media == "image" for field in signature.fields)
    seed, most = domain.training.seed, PHOTO_ROWS if photos else PROFILE_ROWS
    rows = sample(frame, most, seed=seed)
    features = _features(folder, signature)
    observed, scores, whole_scores = _seen(folder, rows, signature, features)
    _compared(domain, whole_scores, signature)
    made = profile.build(observed, scores=scores)
    judged = domain.data.label in rows and signature.retriever is None
    error = _error(domain, signature, rows, whole_scores) if judged else None
    then = []
    for part in seasons:
        inputs, outputs, _ = _seen(folder, sample(part.rows, most, seed=seed), signature, features)
        then.append(made.season({**inputs, **outputs}, first=part.first, last=part.last))
    whole = made.model_copy(update={"seasons": tuple(then), "error": error})
    if match := domain.drift.match:
        fields = [field.name for field in signature.fields if not field.shape and field.media is None]
        if match not in fields:
            raise DeclarationError("drift.match is not a plain field", expected=", ".join(fields), got=match)
        values = columns(rows, signature.fields)[match].tolist()
        whole = whole.stratified({**observed, **scores}, by=match, values=values)
    (folder / "profile.json").write_text(whole.model_dump_json() + "\n", encoding="utf-8")
    few = sample(pd.DataFrame({**observed, **scores}), SAMPLE_ROWS, seed=seed)
    _parquet(few, folder / "reference.parquet")
    if features.embed is not None:
        embedded = embedding.sample(features.embed(columns(rows, signature.fields)))
        (folder / embedding.FILE).write_bytes(embedding.write(embedded))


def _compared(domain: Domain, outputs: Columns, signature: Signature) -> None:
    """`DeclarationError` where a shadow is to compare what this model never answers: nothing would equal nothing."""
    shadow = domain.rollout.shadow
    if shadow is None or (signature.retriever and shadow.output in {each.name for each in signature.answered}):
        return
    values = outputs.get(shadow.output)
    word = values is not None and values.dtype.kind in "OUS"
    if values is None or (domain.task.kind == "multiclass" and not word):
        raise DeclarationError(
            f"domains/{domain.name}/domain.yaml: rollout.shadow.output names nothing that can be compared",
            expected="the output that holds the class" if values is not None else ", ".join(outputs),
            got=shadow.output,
            fix="add one in serving.py" if values is not None else "name one of these",
        )


def _seen(
    folder: Path, rows: pd.DataFrame, signature: Signature, features: Features
) -> tuple[Columns, Columns, Columns]:
    """Columns that the drift monitor will see of these rows: observed inputs, outputs with one value per record, all outputs."""
    import pandas as pd

    raw = columns(rows, signature.fields)
    asked = raw if signature.retriever is None else requested(rows, signature.asked)
    if features.observe is None:
        raise DeclarationError("features.py does not say what to watch", expected="observe(columns)", got="none")
    observed: Columns = features.observe(asked)
    if signature.retriever is not None:  # what it answers is ids, of which there is no distribution to keep
        return observed, {}, {}
    outputs, shapes = _outputs(folder, features.encode(raw), signature)
    if (choice := signature.choice) is not None:  # of one day, so that the same rows give the same profile
        whom = rows.get(choice.entity, pd.Series([None] * len(rows), dtype=object)).to_numpy(dtype=object)
        chosen = choice.of(outputs[signature.outputs[0].name], {**raw, choice.entity: whom}, day=0)
        outputs, shapes = outputs | chosen, shapes | dict.fromkeys(chosen, ())
    return observed, {name: values for name, values in outputs.items() if shapes[name] == ()}, outputs


def _error(domain: Domain, signature: Signature, rows: pd.DataFrame, outputs: Columns) -> Any:
    """Error of the model on these rows, as late labels will show it."""
    from hallmark.drift import concept

    columns = domain.data.target_columns
    labels = signature.task.late_labels(rows, columns)
    return concept.reference(signature.task, outputs, labels, signature.task.requests(rows, columns))


def _features(folder: Path, signature: Signature) -> Features:
    """The feature code of a folder that is being written, with its assets."""
    module = code.load(folder, "features")
    return Features(module, inputs=signature.inputs, assets=_assets(folder, signature))


def _assets(folder: Path, signature: Signature) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in signature.assets}


def _outputs(
    folder: Path, inputs: Mapping[str, NDArray[Any]], signature: Signature
) -> tuple[dict[str, NDArray[Any]], dict[str, tuple[int, ...]]]:
    """Outputs of the server, those first that serving.py adds; and the shape per record of each."""
    running = onnx_model.session(folder / "model.onnx")
    outputs = onnx_model.run(running, inputs, [output.name for output in signature.outputs])
    declared = {output.name: output.shape for output in signature.outputs}
    added: dict[str, NDArray[Any]] = {}
    if (folder / "serving.py").is_file():
        serving = code.load(folder, "serving")
        if not hasattr(serving, "answer"):
            raise DeclarationError(
                f"domains/{signature.domain}/serving.py orders what an index finds, and the model has no index",
                expected="OUTPUTS and answer, or retrieval: in domain.yaml",
                got="order alone",
            )
        answers = serving.answer(outputs, signature.labels, *loaded(serving, _assets(folder, signature)))
        added = {output.name: answers[output.name] for output in serving.OUTPUTS}
        declared |= {output.name: output.shape for output in serving.OUTPUTS}
    return {**added, **{name: values for name, values in outputs.items() if name not in added}}, declared


def sample(frame: pd.DataFrame, rows: int, *, seed: int) -> pd.DataFrame:
    """`rows` rows of `frame` at most, in its order: the same for the same seed."""
    if len(frame) <= rows:
        return frame.reset_index(drop=True)
    chosen = np.sort(np.random.default_rng(seed).choice(len(frame), size=rows, replace=False))
    return frame.iloc[chosen].reset_index(drop=True)


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    """The same bytes for the same rows: no pandas notes, fixed compression."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, path, compression="zstd", compression_level=3)


def score_folder(folder: Path, frame: pd.DataFrame, *, expected: str | None = None) -> NDArray[Any]:
    """Predictions of the model in `folder` on `frame`, by its own feature code and its ONNX model: (n,) or (n, k).

    `expected` is the digest it must have; `ModelRefused` before any of it is loaded where it has another.
    """
    return _scored(bundle.read(folder, expected=expected), frame)


def evaluate_folder(
    domain: Domain, folder: Path, test: pd.DataFrame, *, settings: Settings | None = None
) -> tuple[str, Evaluation]:
    """Digest of the sealed model in `folder`, and its evaluation on `test`; `ModelRefused` where the folder is not whole."""
    verified = bundle.read(folder, expected=None)
    return verified.digest, evaluate.evaluate(domain, _scored(verified, test), test, settings=settings)


def _scored(verified: Bundle, frame: pd.DataFrame) -> NDArray[Any]:
    signature = verified.signature
    inputs = verified.features.encode(columns(frame, signature.fields))
    output = signature.outputs[0].name
    return onnx_model.run(onnx_model.session(verified.file("model.onnx")), inputs, [output])[output]
