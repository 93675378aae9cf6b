"""The search of `hallmark tune` as steps of a graph: what their components call (pipelines/tuning.py).

Where tries are pods there is no disk that they share, so the study is an artifact: each round of tries is proposed from what the rounds
before have found, and every try is an artifact's worth of text that Kubeflow keeps, so that a run that is started again makes none twice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from hallmark.declaration import domain as domains
from hallmark.section import Frozen
from hallmark.tasks.bootstrap import Estimate, difference_error
from hallmark.training import search_space
from hallmark.training.gate import NOISE
from hallmark.training.signature import Reads, Writes
from hallmark.training.step import progress, step
from hallmark.training.tuning import fitted_and_judged, gate_metric, sampler, short, shown

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


class RemoteTry(Frozen):
    """One try of a run: few words, since Kubeflow hands them from pod to pod.

    value:  of the gate's metric on the validation examples; none of a try that failed, whose note says why.
    gain:   on the declared options in the direction of the metric, and its standard error on the same examples.
    """

    options: dict[str, Any]
    value: float | None = None
    error: float | None = None
    gain: float | None = None
    gain_error: float | None = None
    note: str = ""


class RemoteStudy(Frozen):
    """All tries of a run so far, in the order in which they were proposed."""

    metric: str
    higher: bool
    tries: tuple[RemoteTry, ...] = ()


@step(kept=False)
def judge_declared(
    domain: str,
    *,
    seed: int,
    option: list[str],
    training: Annotated[Path, Reads("Dataset")],
    validation: Annotated[Path, Reads("Dataset")],
    declared: Annotated[Path, Writes()],
) -> None:
    """Fit with the declared options, and what is the same in all tries; keep how well it answers, with what errors of differences come from."""
    found = _judged(domain, seed, _same(option), training, validation, "judge_declared")
    declared.parent.mkdir(parents=True, exist_ok=True)
    declared.write_text(found.model_dump_json(), encoding="utf-8")


@step(kept=False)
def propose(
    domain: str,
    *,
    seed: int,
    option: list[str],
    count: int,
    ended: list[str],
    before: Annotated[Path | None, Reads()] = None,
    study: Annotated[Path, Writes()],
) -> list[str]:
    """The options of the next `count` tries, a JSON text each, by what the tries until now have found.

    option: what is searched and what is the same in all tries, as `hallmark tune --option` takes it.
    ended: the tries of the round before.   before: the study until that round.   study: with both.
    """
    found = _study(domain, before, ended)
    _write(study, found.model_dump_json(indent=2))
    space = _space(option)
    asked = _optuna(found, space, seed)
    return [json.dumps(_proposed(asked, space)) for _ in range(count)]


@step(kept=False)
def try_options(
    domain: str,
    *,
    seed: int,
    proposed: str,
    option: list[str],
    training: Annotated[Path, Reads("Dataset")],
    validation: Annotated[Path, Reads("Dataset")],
    declared: Annotated[Path, Reads()],
) -> str:
    """Fit with the proposed options and judge by the validation examples; options that `fit` refuses are a try that failed, and no more."""
    from hallmark.errors import HallmarkError

    given = json.loads(proposed)
    try:
        found = _judged(domain, seed, _same(option) | given, training, validation, "try_options")
    except HallmarkError as error:
        return RemoteTry(options=given, note=f"{error.message}: {error.got}").model_dump_json()
    first = Estimate.model_validate_json(declared.read_bytes())
    sign = 1.0 if gate_metric(domains.load(domain)).direction == "higher" else -1.0
    return RemoteTry(
        options=given,
        value=found.value,
        error=found.error,
        gain=sign * (found.value - first.value),
        gain_error=difference_error(found, first),
    ).model_dump_json()


@step(kept=False, summary=True)
def choose(
    domain: str,
    *,
    ended: list[str],
    before: Annotated[Path, Reads()],
    declared: Annotated[Path, Reads()],
    study: Annotated[Path, Writes()],
    summary: Annotated[Path, Writes("Markdown")],
) -> str:
    """Say which options are best, in a line, and all tries in a table; the test examples are for the gate, so nothing is registered."""
    found = _study(domain, before, ended)
    _write(study, found.model_dump_json(indent=2))
    first = Estimate.model_validate_json(declared.read_bytes())
    ranked = sorted((each for each in found.tries if each.gain is not None), key=lambda each: -(each.gain or 0.0))
    failed = [each for each in found.tries if each.value is None]
    rows = [f"| declared | {first.value:.4f} | {first.error or float('nan'):.4f} | |"]
    rows += [
        f"| {shown(each.options)} | {each.value:.4f} | {each.error or float('nan'):.4f} | {each.gain:+.4f} |"
        for each in ranked
    ]
    rows += [f"| {shown(each.options)} | failed | | {each.note} |" for each in failed]
    line = _line(ranked, len(found.tries), found.metric)
    head = f"# {domain}: {len(found.tries)} tries\n\n{line}\n\n| options | {found.metric} | error | gain |\n|---|---|---|---|\n"
    _write(summary, head + "".join(f"{row}\n" for row in rows))
    return line


def _line(ranked: list[RemoteTry], tries: int, metric: str) -> str:
    best = ranked[0] if ranked else None
    if best is None or best.gain is None or best.gain <= 0:
        return f"none of {tries} tries is better than the declared options by {metric}"
    told = best.gain_error is not None and best.gain > NOISE * best.gain_error
    chance = "" if told else "; chance alone moves it as far"
    return f"{shown(best.options)} gains {best.gain:.4f} of {metric} on the declared options{chance}: the best of {tries} tries"


def _judged(domain: str, seed: int, options: dict[str, Any], training: Path, validation: Path, name: str) -> Estimate:
    from hallmark.data import dataset
    from hallmark.learners.model import examples

    return fitted_and_judged(
        domains.load(domain),
        examples(domain, dataset.read(training)),
        examples(domain, dataset.read(validation)),
        draws=dataset.digest(validation),
        seed=seed,
        options=options,
        progress=progress(name),
    )


def _study(domain: str, before: Path | None, ended: list[str]) -> RemoteStudy:
    metric = gate_metric(domains.load(domain))
    known = RemoteStudy(metric=metric.name, higher=metric.direction == "higher")
    if before is not None:
        known = RemoteStudy.model_validate_json(before.read_bytes())
    new = tuple(RemoteTry.model_validate_json(each) for each in ended)
    return known.model_copy(update={"tries": (*known.tries, *new)})


def _space(option: list[str]) -> dict[str, BaseDistribution]:
    return {name: each.distribution() for name, each in sorted(search_space.parse(option)[0].items())}


def _same(option: list[str]) -> dict[str, Any]:
    return search_space.parse(option)[1]


def _optuna(found: RemoteStudy, space: dict[str, BaseDistribution], seed: int) -> optuna.Study:
    """Optuna's own study of the same tries, in memory."""
    import optuna
    from optuna.study import StudyDirection
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    direction = StudyDirection.MAXIMIZE if found.higher else StudyDirection.MINIMIZE
    study = optuna.create_study(direction=direction, sampler=sampler(seed, len(found.tries)))
    for each in found.tries:
        state = TrialState.FAIL if each.value is None else TrialState.COMPLETE
        study.add_trial(create_trial(state=state, value=each.value, params=each.options, distributions=space))
    return study


def _proposed(study: optuna.Study, space: dict[str, BaseDistribution]) -> dict[str, Any]:
    """Options of one more try, which is told to be as good as the worst until now: else one round would try one place many times."""
    from optuna.distributions import FloatDistribution
    from optuna.study import StudyDirection

    done = [each.value for each in study.get_trials(deepcopy=False) if each.value is not None]
    trial = study.ask(space)
    if done:
        study.tell(trial, min(done) if study.direction is StudyDirection.MAXIMIZE else max(done))
    rounded = {name: short(value) for name, value in trial.params.items()}
    ends = {name: (each.low, each.high) for name, each in space.items() if isinstance(each, FloatDistribution)}
    return {
        name: min(max(value, ends[name][0]), ends[name][1]) if name in ends else value
        for name, value in rounded.items()
    }


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
