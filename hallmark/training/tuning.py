"""A search for better options of a domain's `fit`: a study of Optuna's in SQLite, whose tries are judged on the validation examples.

<state>/tuning/<domain>/<key>/
  request.json     what is searched, on which examples
  parts/           training and validation examples; the test examples are for the gate, and no try sees them
  study.db         Optuna's
  tries/<n>.json   how well a try answers, with the error of the figure; declared.json: without any option
  events.jsonl     what the workers of now say
  running          held by the search while it lives
  lock             held by a worker while it takes its next try

The key is made of what is asked and of the code, so that the same command goes on where it was ended, and another is another study.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import Conflict, ContractBroken, HallmarkError
from hallmark.files import last_lines, locked, replace
from hallmark.leash import Leash
from hallmark.section import Frozen
from hallmark.settings import Settings
from hallmark.tasks.bootstrap import Estimate, difference_error
from hallmark.training import cache, check, split, steps
from hallmark.training import source as sources
from hallmark.training.gate import NOISE
from hallmark.training.journal import Failure, Journal, JournalEvent
from hallmark.training.search_space import Searched
from hallmark.training.step import finder

if TYPE_CHECKING:
    import optuna

    from hallmark.learners.model import Examples


DECLARED = "declared"
"""The try without any option, which the others are compared with."""
_ROUNDING = 1e-9
"""Sums in another order differ by less."""
_POINTS = 20
"""Times that a try tells how good it is so far, and may be given up."""
_WARM = 4
"""Tries that run to their end before one is given up."""
_HOPELESS = 3
"""Tries in a row that fail before the search does."""
_PATIENCE = 120.0
_PAUSE = 0.05
_TAIL = 8

Report = Callable[[JournalEvent], None]


class TuningRequest(Frozen):
    """One search.

    searched: options that differ from try to try; options: those that are the same in all.
    tries:    how many are to be finished or given up in all, the declared options aside.
    """

    domain: str
    source: str
    as_of: str
    window: str
    seed: int
    shift: str
    searched: dict[str, Searched]
    options: dict[str, Any]
    tries: int


class Try(Frozen):
    """How one try ended.

    state:    finished, given up (worse than most others at the same point), or failed, with the reason as its note.
    estimate: of the gate's metric on the validation examples.
    """

    number: int | None
    state: str
    options: dict[str, Any]
    seconds: float
    estimate: Estimate | None = None
    note: str = ""


class Tuned(Frozen):
    """Outcome of a search.

    best:      the best try, or the declared options where none is better.
    gain:      best - declared in the direction of the metric, and its standard error on the same examples.
    important: share of each option in how much the tries differ, where there are enough.
    """

    domain: str
    metric: str
    higher: bool
    as_of: str
    rows: int
    declared: Try
    tries: tuple[Try, ...]
    best: Try
    gain: float
    gain_error: float | None
    important: dict[str, float]
    folder: Path

    @property
    def told(self) -> bool:
        """True where the gain is more than chance alone makes of it, once; the best of many tries is lucky besides."""
        return self.gain_error is not None and self.gain > max(NOISE * self.gain_error, _ROUNDING)


def tune(request: TuningRequest, *, settings: Settings, jobs: int = 1, report: Report = lambda event: None) -> Tuned:
    """Search until `request.tries` tries are there, with `jobs` processes at once; what an earlier call finished is kept.

    Raises `Conflict` where another process is at the same search, and what stopped the examples or the declared options.
    """
    declared = domains.load(request.domain, settings)
    check.demand(declared, settings)
    folder = _folder(request, declared, settings)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        replace(folder / "request.json", request.model_dump_json(indent=2))
        _parts(request, declared, folder, settings, report)
        _take_back(folder, request)
        _run(request, folder, settings, jobs, report)
        return _tuned(request, declared, folder)


def _folder(request: TuningRequest, declared: Domain, settings: Settings) -> Path:
    """Folder of the study: whoever asks for more tries of the same search goes on with it."""
    from hallmark.training import view_join

    found = finder(declared.name, settings)
    origin = steps.origin(request.source)
    told = {
        "request": request.model_dump(mode="json", exclude={"tries"}),
        "source": cache.digest(origin) if isinstance(origin, Path) else str(origin),
        "held": view_join.held(declared, request.source, settings),
        "code": [step.code(declared.name, settings, finder=found) for step in (steps.load, steps.split, steps.train)],
    }
    key = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
    return settings.state / "tuning" / declared.name / key[:16]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    busy = Conflict(
        "another process is at the same search",
        expected="one at a time",
        got=str(folder),
        fix="wait for it, or give it more processes with --jobs when it has ended",
    )
    with locked(folder / "running", patience=0, otherwise=busy):
        yield


def _parts(request: TuningRequest, declared: Domain, folder: Path, settings: Settings, report: Report) -> None:
    """Write training and validation examples, as a training of the same day parts them."""
    from hallmark.data import contract, dataset

    if (folder / "parts" / "rows.json").is_file():
        report(JournalEvent(step="examples", state="reused"))
        return
    began = time.monotonic()
    report(JournalEvent(step="examples", state="started"))
    start, end = steps.span(declared, request.as_of, request.window)
    frame = sources.load(
        declared.name,
        source=request.source,
        start=start,
        end=end,
        seed=request.seed,
        shift=request.shift or None,
        settings=settings,
    )
    contract.check(
        domains.module(declared.name, "data", settings).contract(), frame, f"the examples of {declared.name}"
    )
    day = steps.utc(request.as_of)
    parts = split.split(declared, frame, as_of=day, seed=declared.training.seed)
    if not len(parts.validation):
        raise ContractBroken(
            f"there are no validation examples of {declared.name} to judge a try by",
            expected="examples enough for three parts",
            got=f"{len(frame)} rows",
            fix="give it more with --window or --data",
        )
    (folder / "parts").mkdir(exist_ok=True)
    dataset.write(parts.train, folder / "parts" / "training.parquet")
    dataset.write(parts.validation, folder / "parts" / "validation.parquet")
    rows = {"training": len(parts.train), "validation": len(parts.validation)}
    replace(folder / "parts" / "rows.json", json.dumps(rows))
    note = f"{len(parts.train):,} to learn from, {len(parts.validation):,} to judge by"
    report(JournalEvent(step="examples", state="finished", seconds=time.monotonic() - began, note=note))


def _take_back(folder: Path, request: TuningRequest) -> None:
    """Tries that were cut off are asked again; one that was cut off after its end has been written down is told to Optuna."""
    from optuna.trial import TrialState

    study = _study(folder, request)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        kept = _kept(folder, str(trial.number))
        if kept is not None:
            _tell(study, kept)
            continue
        study.tell(trial.number, state=TrialState.FAIL)
        given = trial.system_attrs.get("fixed_params") or trial.params  # the first are those of a try asked again
        if given.keys() >= request.searched.keys():  # else it was cut off while it got them, and no try followed it
            study.enqueue_trial(given)


def _tell(study: optuna.Study, ended: Try) -> None:
    from optuna.trial import TrialState

    assert ended.number is not None  # noqa: S101 - the declared options are no trial
    states = {"finished": TrialState.COMPLETE, "given up": TrialState.PRUNED, "failed": TrialState.FAIL}
    study.tell(ended.number, ended.estimate.value if ended.estimate else None, state=states[ended.state])


def _study(folder: Path, request: TuningRequest) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    declared = domains.load(request.domain)
    return optuna.create_study(
        storage=optuna.storages.RDBStorage(
            f"sqlite:///{folder / 'study.db'}", engine_kwargs={"connect_args": {"timeout": _PATIENCE}}
        ),
        study_name=request.domain,
        direction="maximize" if gate_metric(declared).direction == "higher" else "minimize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_WARM, n_warmup_steps=_POINTS // 4),
        load_if_exists=True,
    )


def gate_metric(declared: Domain) -> Any:
    from hallmark.learners.model import spec, task_of

    return task_of(declared, spec(declared)).metrics()[declared.gate.metric]


def _run(request: TuningRequest, folder: Path, settings: Settings, jobs: int, report: Report) -> None:
    """Start the workers, and pass on what they say until all have ended."""
    journal = Journal(folder)
    journal.path.unlink(missing_ok=True)
    shutil.rmtree(folder / "logs", ignore_errors=True)
    (folder / "logs").mkdir()
    environment = settings.child_environment(OMP_WAIT_POLICY=os.environ.get("OMP_WAIT_POLICY", "passive"))
    leash, workers = Leash(settings.state), []
    try:
        for number in range(jobs):
            log = journal.log(f"worker-{number}")
            with log.open("wb") as output:
                command = [sys.executable, "-m", "hallmark.training.tuning", str(folder)]
                workers.append(leash.start(command, environment=environment, folder=folder, output=output))
        _follow(workers, journal, report)
    finally:
        leash.end()
        for worker in workers:
            worker.wait()


def _follow(workers: list[subprocess.Popen[bytes]], journal: Journal, report: Report) -> None:
    over = False
    failure: Failure | None = None
    for event in journal.follow():
        if event is not None:
            failure = event.failure if event.state == "failed" and event.step == "search" else failure
            report(event)
            continue
        if over:
            break
        over = all(worker.poll() is not None for worker in workers)
        if not over:
            time.sleep(_PAUSE)
    for number, worker in enumerate(workers):
        if worker.returncode != 0:
            log = journal.log(f"worker-{number}")
            known = failure.error() if failure else None
            raise known or HallmarkError(
                "a process of the search broke",
                expected="tries, each with its end",
                got="\n    ".join([f"exit code {worker.returncode}", *last_lines(log, _TAIL)]),
                fix=f"the whole log is {log}; the same command goes on with the tries that are there",
            )


def work(folder: Path) -> None:
    """Make tries of the study in `folder` until there are as many as were asked for; several processes may."""
    request = TuningRequest.model_validate_json((folder / "request.json").read_bytes())
    worker = _Worker(folder, request)
    try:
        worker.first()
        while worker.next():
            pass
    except HallmarkError as error:
        worker.journal.add(JournalEvent(step="search", state="failed", failure=Failure.of(error)))
        raise


def fitted_and_judged(
    domain: Domain,
    training: Examples,
    validation: Examples,
    *,
    draws: str,
    seed: int,
    options: dict[str, Any],
    progress: Callable[[int, int, str], None],
) -> Estimate:
    """How well a model with these options answers the validation examples, by the gate's metric.

    draws: names the validation examples, so that errors of differences between tries are known.
    """
    from hallmark.learners.model import spec, task_of
    from hallmark.tasks.bootstrap import estimates

    model = spec(domain)
    fitted = model.fit(training, validation, seed=seed, progress=progress, **steps.whole(options))
    task, targets = task_of(domain, model), validation.targets
    metric = task.metrics()[domain.gate.metric]
    found = estimates([metric], targets, task.predictions(fitted.predict(validation.given), targets), seed=draws)
    if metric.name not in found:
        raise ContractBroken(
            f"{metric.name} cannot be told from the validation examples",
            expected=metric.description,
            got=f"{len(validation)} examples",
            fix="give it more with --window or --data",
        )
    return found[metric.name]


def sampler(seed: int, before: int) -> optuna.samplers.BaseSampler:
    """Which values come next hangs on the tries before them only, so that a search that was ended goes on as it would have."""
    import optuna

    drawn = (seed * 100_003 + before) % 2**32
    return optuna.samplers.TPESampler(seed=drawn, n_startup_trials=8, multivariate=True)


class _Worker:
    """One process that makes tries."""

    def __init__(self, folder: Path, request: TuningRequest) -> None:
        from hallmark.data import dataset
        from hallmark.learners.model import examples

        self.folder, self.request, self.journal = folder, request, Journal(folder)
        self.domain = domains.load(request.domain)
        self.training = examples(request.domain, dataset.read(folder / "parts" / "training.parquet"))
        frame = dataset.read(folder / "parts" / "validation.parquet")
        self.validation, self.draws = (
            examples(request.domain, frame),
            dataset.digest(folder / "parts" / "validation.parquet"),
        )
        self.study = _study(folder, request)
        self.failed = 0

    def first(self) -> None:
        """Try the declared options, once; a failure of theirs ends the search."""
        with locked(self.folder / "lock-declared", patience=math.inf):
            if _kept(self.folder, DECLARED) is None:
                began = self._started(DECLARED)
                estimate = self._fit({}, self._progress(DECLARED, None))
                self._ended(DECLARED, None, "finished", {}, began, estimate=estimate)

    def next(self) -> bool:
        """Make one try; false where no more are wanted."""
        import optuna

        trial = self._ask()
        if trial is None:
            return False
        name, options = f"try {trial.number}", {key: short(value) for key, value in trial.params.items()}
        began = self._started(name, shown(options))
        try:
            estimate = self._fit(options, self._progress(name, trial))
        except optuna.TrialPruned:
            self._ended(name, trial, "given up", options, began)
        except HallmarkError as error:
            self._ended(name, trial, "failed", options, began, note=f"{error.message}: {error.got}")
            self.failed += 1
            if self.failed >= _HOPELESS:
                raise
            return True
        else:
            self._ended(name, trial, "finished", options, began, estimate=estimate)
        self.failed = 0
        return True

    def _ask(self) -> optuna.Trial | None:
        """The next try; none where enough are there or under way. One that failed counts, so that the search ends."""

        space = {name: each.distribution() for name, each in sorted(self.request.searched.items())}
        with locked(self.folder / "lock", patience=_PATIENCE):
            trials = self.study.get_trials(deepcopy=False)
            waiting = any(each.state.name == "WAITING" for each in trials)
            before = sum(not _cut_off(self.folder, each) for each in trials)
            if not waiting and before >= self.request.tries:
                return None
            self.study.sampler = sampler(self.request.seed, before)
            return self.study.ask(space)

    def _fit(self, options: dict[str, Any], progress: Callable[[int, int, str], None]) -> Estimate:
        return fitted_and_judged(
            self.domain,
            self.training,
            self.validation,
            draws=self.draws,
            seed=self.request.seed,
            options=self.request.options | options,
            progress=progress,
        )

    def _progress(self, name: str, trial: optuna.Trial | None) -> Callable[[int, int, str], None]:
        """Tell how far a try is, and give it up where its curve is worse than most."""
        import optuna

        from hallmark.learners.model import Measured

        up, last = self.study.direction == optuna.study.StudyDirection.MAXIMIZE, -1

        def progress(done: int, total: int, note: str) -> None:
            nonlocal last
            self.journal.progress(name, done, total, str(note))
            point = _POINTS * done // max(1, total)
            if trial is None or not isinstance(note, Measured) or point <= last or not math.isfinite(note.value):
                return
            last = point
            trial.report(note.value if note.higher == up else -note.value, point)
            if done < total and trial.should_prune():
                raise optuna.TrialPruned

        return progress

    def _started(self, name: str, note: str = "") -> float:
        self.journal.add(JournalEvent(step=name, state="started", pid=os.getpid(), note=note))
        return time.monotonic()

    def _ended(
        self,
        name: str,
        trial: optuna.Trial | None,
        state: str,
        options: dict[str, Any],
        began: float,
        *,
        estimate: Estimate | None = None,
        note: str = "",
    ) -> None:
        seconds, number = round(time.monotonic() - began, 3), None if trial is None else trial.number
        kept = Try(number=number, state=state, options=options, seconds=seconds, estimate=estimate, note=note)
        replace(_path(self.folder, DECLARED if number is None else str(number)), kept.model_dump_json())
        if trial is not None:
            _tell(self.study, kept)
        said = (
            f"{self.domain.gate.metric} {estimate.value:.4f} ± {estimate.error or math.nan:.4f}" if estimate else state
        )
        line = " · ".join(part for part in (said, shown(options), note) if part)
        self.journal.add(JournalEvent(step=name, state="finished", seconds=seconds, note=line))


def short(value: Any) -> Any:
    """A value that a person can copy: no option is told to more than four digits by some tries."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def shown(options: dict[str, Any]) -> str:
    """Options as a person reads them in a line."""
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in options.items()
    )


def _cut_off(folder: Path, trial: Any) -> bool:
    """A try that its process never ended; it was asked again since."""
    return trial.state.name == "FAIL" and not _path(folder, str(trial.number)).is_file()


def _path(folder: Path, name: str) -> Path:
    return folder / "tries" / f"{name}.json"


def _kept(folder: Path, name: str) -> Try | None:
    path = _path(folder, name)
    return Try.model_validate_json(path.read_bytes()) if path.is_file() else None


def _tuned(request: TuningRequest, declared: Domain, folder: Path) -> Tuned:
    metric, study = gate_metric(declared), _study(folder, request)
    found = [_kept(folder, str(trial.number)) for trial in study.get_trials(deepcopy=False)]
    tries = tuple(each for each in found if each is not None)
    first = _kept(folder, DECLARED)
    if first is None or first.estimate is None:
        raise HallmarkError("the declared options were not tried", fix="run the same command again")
    sign = 1.0 if metric.direction == "higher" else -1.0
    finished = [each for each in tries if each.estimate is not None]
    best = max([first, *finished], key=lambda each: sign * each.estimate.value if each.estimate else -math.inf)
    assert best.estimate is not None  # noqa: S101 - the declared options have one
    return Tuned(
        domain=request.domain,
        metric=metric.name,
        higher=metric.direction == "higher",
        as_of=request.as_of,
        rows=json.loads((folder / "parts" / "rows.json").read_text())["validation"],
        declared=first,
        tries=tries,
        best=best,
        gain=sign * (best.estimate.value - first.estimate.value),
        gain_error=0.0 if best is first else difference_error(best.estimate, first.estimate),
        important=_important(study, finished),
        folder=folder,
    )


def _important(study: optuna.Study, finished: list[Try]) -> dict[str, float]:
    """Share of each option in the spread of the finished tries (Hutter et al., 2014: functional ANOVA); none for few."""
    import optuna

    few = len(finished) < 4 or len({each.estimate.value for each in finished if each.estimate}) < 2
    if few or len(study.trials[0].params) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return {
        name: round(float(share), 3)
        for name, share in optuna.importance.get_param_importances(study, evaluator=evaluator).items()
    }


if __name__ == "__main__":
    try:
        work(Path(sys.argv[1]))
    except HallmarkError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a process of its own, whose output is its log
        sys.exit(1)
