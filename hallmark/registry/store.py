"""The versions of each domain, in MLflow: one experiment and one registered model a domain, a model card with every version.

Register's last act is the one that makes a version, so that a registry which fails half-way has nothing half-registered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import sqlite3
import tempfile
import time
import urllib.error
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import EllipsisType
from typing import Any

from hallmark import people
from hallmark.artifacts import model_card as model_cards
from hallmark.artifacts import trial as trials
from hallmark.artifacts.folder import MANIFEST, MODEL_CARD, ROWS_SEEN, verify
from hallmark.artifacts.model_card import ModelCard
from hallmark.artifacts.trial import Fit, Trial
from hallmark.errors import Conflict, HallmarkError, ModelRefused, NotFound, Unavailable
from hallmark.files import locked, replace
from hallmark.registry import mlmodel, places, refusals, summary
from hallmark.registry.places import Places
from hallmark.remote import shown
from hallmark.section import Frozen
from hallmark.settings import Settings

CHAMPION = "champion"
CHALLENGER = "challenger"
VOLUME = "pvc://models/"
PATIENCE = 1.5
"""Seconds to wait for a registry that is locked or slow to answer; MLflow alone waits 20."""
_SET_UP = 60.0

CORRELATION = "hallmark.correlation"
"""Tag of a version: the ids of what it was trained for, oldest first; the same model is often an answer more than once."""
_CORRELATIONS = 50

OUTCOME = "hallmark.outcome"
"""Tag of a run that became no version: refused, or experiment."""
_KEY = "hallmark.key"
"""Tag of such a run: a digest of all that it says, by which it is logged once."""
_EXPERIMENT_KIND = "mlflow.experimentKind"
"""Tag of an experiment, by which MLflow's page shows what models need and not what agents do."""
_BATCH = 1000
_SHORTEST = 4
"""Letters of a run that name it: fewer fit one by chance today, and another tomorrow."""

_CHECKED = "hallmark.domain"
"""Tag that `check` writes, to find out whether it may."""

_LOG = logging.getLogger(__name__)
_TAGS = ("digest", "data", "commit", "metric", "value")


class ServableVersion(Frozen):
    """A version that can be served. `path` is its folder, where that lies on this machine."""

    domain: str
    version: int
    storage_uri: str
    digest: str
    path: Path | None = None

    def fetch(self) -> Path:
        """The folder on this machine, checked against its digest; downloaded where it lies elsewhere."""
        folder = self.path
        if folder is None:
            from mlflow.artifacts import download_artifacts

            folder = Path(download_artifacts(artifact_uri=self.storage_uri, dst_path=tempfile.mkdtemp()))
        verify(folder, expected=self.digest)
        return folder

    def model_card(self) -> ModelCard:
        """Its model card; of a version that lies elsewhere, that and the list of its files alone are fetched, and kept nowhere."""
        if self.path is not None:
            return model_cards.read(self.path)
        from mlflow.artifacts import download_artifacts

        with tempfile.TemporaryDirectory() as scratch:
            for name in (MODEL_CARD, MANIFEST):
                download_artifacts(artifact_uri=f"{self.storage_uri.rstrip('/')}/{name}", dst_path=scratch)
            found = model_cards.read(Path(scratch))
        if found.model != self.digest:
            raise ModelRefused("the model card is another model's", expected=self.digest, got=found.model)
        return found


class VersionLine(Frozen):
    """One line of `hallmark versions`."""

    version: int
    aliases: tuple[str, ...]
    digest: str
    data: str
    commit: str
    metric: str
    value: float
    created: datetime
    precision: str
    correlations: tuple[str, ...] = ()


class TrialLine(Frozen):
    """One line of `hallmark experiments`: a training that became no version.

    outcome: refused, or experiment.   reason: what the gate said of it, what failed first.   seconds: of its fit.
    """

    run: str
    experiment: str
    outcome: str
    reason: str
    passed: bool
    metric: str
    value: float
    error: float | None
    options: str
    data: str
    created: datetime
    seconds: float
    folder: str = ""


class Registry:
    """MLflow behind `settings.tracking`; every call fails as `Unavailable` in 5 s where MLflow is down or locked, as `Refused` where it says no."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._made: Any = None
        self._followed = False

    def repair(self, *, dry: bool = False) -> Places:
        """Have the local registry name artifacts where they lie today, after its folder was moved; doing it twice is doing it once.

        dry: only tell. Whatever stops it, the database is as it was. A tracking server keeps its artifacts itself: nothing to do.
        """
        database = file_of(self.settings.tracking)
        if database is None or not database.is_file():
            return Places()
        try:
            with contextlib.nullcontext() if dry else self._alone():
                return places.repair(database, self.settings.models, patience=PATIENCE, dry=dry)
        except sqlite3.Error as error:
            raise refusals.of(error, self._where) or self._unavailable(str(error)) from error

    def _follow(self) -> None:
        """Repair a registry whose state folder was moved since, so that MLflow finds its artifacts too; where it cannot be written, nothing is."""
        database = file_of(self.settings.tracking)
        if self._followed or database is None or database.parent != self.settings.state or not database.is_file():
            return
        self._followed = True
        with contextlib.suppress(sqlite3.Error, HallmarkError):
            if places.stale(database, self.settings.models):
                for move in self.repair().moves:
                    _LOG.warning("the registry named %s: it names %s now", move.old, move.new)

    def check(self, domain: str) -> None:
        """Refuse now what `register` would refuse after a training: a deleted experiment, an account that may not write."""
        if self._is_new():
            return
        database = file_of(self.settings.tracking)
        with contextlib.suppress(summary.Elsewhere):
            if database is not None:
                self._probe(writing=True)
                if deleted := summary.deleted_experiment(database, domain):
                    raise refusals.deleted(domain, deleted)
                return
        with self._asked(domain, writing=True) as client:
            self._registered_model(client, domain)
            for write, where in (
                (client.set_experiment_tag, self._experiment(client, domain)),
                (client.set_registered_model_tag, domain),
            ):
                write(where, _CHECKED, domain)

    def register(
        self,
        folder: Path,
        model_card: ModelCard,
        *,
        plots: Mapping[str, Path] | None = None,
        rows_seen: Path | None = None,
        fit: Fit | None = None,
        challenger: bool = True,
    ) -> int:
        """Register the sealed model in `folder` as challenger; the same digest is the same version, and stays where it is.

        rows_seen: of the rows that it has learnt from, where it is to be kept beside the model card.   fit: how long it took, and its curve.   challenger: is it made one? One from elsewhere is not.   That version then carries the correlation of both requests, and the model card of the first,
        with the thresholds of the last: another risk that was declared since has others of the same scores.
        """
        verify(folder, expected=model_card.model)
        with self._asked(model_card.domain, writing=True) as client, self._alone():
            found = self._of_digest(client, model_card.domain, model_card.model)
            if found is not None:
                self._correlate(client, model_card.domain, found, model_card.request.correlation)
                if challenger and model_card.thresholds is not None:
                    self._calibrate(client, found, model_card)
                return found
            number = self._add(client, folder, model_card, plots or {}, rows_seen, fit)
            if challenger:
                client.set_registered_model_alias(model_card.domain, CHALLENGER, str(number))
            return number

    def versions(self, domain: str) -> list[VersionLine]:
        """All versions of a domain, newest first; none for a domain that was never trained."""
        if self._is_new():
            return []
        database = file_of(self.settings.tracking)
        with contextlib.suppress(summary.Elsewhere):
            if database is not None:
                self._probe(writing=False)
                self._follow()
                seen = summary.versions(database, domain)
                return sorted(map(_of_tags, filter(_is_whole, seen)), key=lambda row: -row.version)
        with self._asked(domain) as client:
            aliases = self._aliases(client, domain)
            found = client.search_model_versions(f"name='{domain}'", max_results=1000)
        rows = [_version(item, aliases.get(int(item.version), ())) for item in found if _is_whole(item)]
        return sorted(rows, key=lambda row: -row.version)

    def log(self, trial: Trial, *, plots: Mapping[str, Path] | None = None) -> str:
        """Log a training that became no version, once by what it was; give its run in MLflow."""
        told = trial.model_dump_json(exclude={"created", "fit"})
        key = hashlib.sha256(told.encode()).hexdigest()
        with self._asked(trial.domain, writing=True) as client, self._alone():
            experiment = self._experiment(client, trial.domain)
            known = client.search_runs([experiment], f"tags.`{_KEY}` = '{key}'", max_results=1)
            if known:
                return str(known[0].info.run_id)
            name = trial.experiment or trial.outcome
            run = self._run(client, trial, trial.fit, experiment, name=f"{name} {trial.request.as_of[:10]}")
            try:
                self._record(client, run, trial, plots or {}, trial.fit)
                with tempfile.TemporaryDirectory() as scratch:
                    path = Path(scratch) / trials.FILE
                    path.write_text(trial.model_dump_json(indent=2) + "\n", encoding="utf-8")
                    client.log_artifact(run, str(path))
                for tag, value in {**_trial_tags(trial), _KEY: key}.items():
                    client.set_tag(run, tag, value[:5000])
            except BaseException:
                with contextlib.suppress(Exception):
                    client.set_terminated(run, status="FAILED")
                raise
            self._ended(client, run, trial.fit)
            return str(run)

    def trials(self, domain: str) -> list[TrialLine]:
        """The trainings of a domain that became no version, newest first."""
        if self._is_new():
            return []
        database = file_of(self.settings.tracking)
        with contextlib.suppress(summary.Elsewhere):
            if database is not None:
                self._probe(writing=False)
                self._follow()
                return [_trial_line(each) for each in summary.runs(database, domain, OUTCOME)]
        with self._asked(domain) as client:
            found = client.get_experiment_by_name(domain)
            if found is None:
                return []
            runs = client.search_runs([found.experiment_id], f"tags.`{OUTCOME}` != ''", max_results=5000)
            return [
                _trial_line(
                    summary.Tagged(
                        name=each.info.run_id,
                        tags=each.data.tags,
                        created=each.info.start_time,
                        ended=each.info.end_time,
                        folder=each.info.artifact_uri,
                    )
                )
                for each in runs
            ]

    def trial(self, domain: str, run: str) -> tuple[Trial, Path | None]:
        """A trial by its run in MLflow, or how that begins, and the folder of its artifacts; downloaded where it lies elsewhere."""
        long = len(run) >= _SHORTEST
        found = [each for each in self.trials(domain) if long and each.run.startswith(run.lower())]
        if len(found) != 1:
            raise NotFound(
                f"{domain} has {'no trial' if not found else 'more than one trial whose run begins with'} {run}",
                expected=f"a version, an alias, or the run of a trial, {_SHORTEST} of its letters at least",
                got=run,
                fix=f"hallmark versions {domain} and hallmark experiments {domain} list them",
            )
        folder = places.local(found[0].folder)
        if folder is not None:
            folder = places.below(folder, 3, self.settings.models)
        else:
            from mlflow.artifacts import download_artifacts

            folder = self.settings.state / "fetched" / found[0].run  # a trial never changes
            if not (folder / trials.FILE).is_file():
                folder.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                    shutil.rmtree(folder, ignore_errors=True)
                    Path(download_artifacts(artifact_uri=found[0].folder, dst_path=scratch)).rename(folder)
        return trials.read(folder), folder

    def plots_of(self, domain: str, version: int) -> Path | None:
        """The folder of a version's plots and evaluation on this machine; None where it lies elsewhere, or was taken away."""
        database = file_of(self.settings.tracking)
        with contextlib.suppress(summary.Elsewhere):
            if database is not None and not self._is_new():
                folder = summary.artifacts_of(database, domain, version)
                path = places.local(folder) if folder else None
                return places.below(path, 3, self.settings.models) / "plots" if path is not None else None
        return None

    def forget(self, domain: str, versions: Iterable[int]) -> None:
        """Delete versions with their runs, and what they left on this machine; for ever."""
        with self._asked(domain, writing=True) as client, self._alone():
            for number in versions:
                item = self._get(client, domain, number)
                folder = places.local(item.source)
                aliases = client.get_registered_model(domain).aliases.items()
                for alias in [each for each, at in aliases if int(at) == number]:
                    client.delete_registered_model_alias(domain, alias)
                client.delete_model_version(domain, str(number))
                if folder is not None:
                    shutil.rmtree(places.here(folder, self.settings.models).parent, ignore_errors=True)
                if item.run_id:
                    self._forget_run(client, item.run_id)

    def forget_trial(self, domain: str, run: str) -> None:
        """Delete a trial and what it left on this machine; for ever."""
        with self._asked(domain, writing=True) as client, self._alone():
            self._forget_run(client, run)

    def _forget_run(self, client: Any, run: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            folder = places.local(client.get_run(run).info.artifact_uri)
            client.delete_run(run)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return
        if folder is not None:
            shutil.rmtree(places.below(folder, 3, self.settings.models).parent, ignore_errors=True)

    def resolve(self, domain: str, version: int | str) -> ServableVersion:
        """The version with this number or alias; "latest" is the newest."""
        if self._is_new():
            raise _unknown(domain, version)
        number, uri, digest = self._locate(domain, version)
        path = places.local(uri)
        path = places.here(path, self.settings.models) if path is not None else None
        inside = path is not None and path.is_relative_to(self.settings.models)
        return ServableVersion(
            domain=domain,
            version=number,
            storage_uri=VOLUME + path.relative_to(self.settings.models).as_posix() if path and inside else uri,
            digest=digest,
            path=path,
        )

    def _locate(self, domain: str, version: int | str) -> tuple[int, str, str]:
        """Number, folder and digest of a version: at a summary where that can be, else by MLflow."""
        self._follow()
        database = file_of(self.settings.tracking)
        with contextlib.suppress(summary.Elsewhere):
            if database is not None and version != "latest":
                seen = summary.version(database, domain, version)
                if seen is None:
                    raise _unknown(domain, version)
                return seen.version, seen.source, seen.digest
        with self._asked(domain) as client:
            item = self._get(client, domain, version)
        return int(item.version), str(item.source), str(item.tags["digest"])

    def model_card(self, domain: str, version: int | str) -> ModelCard:
        """The model card of a version, by number or alias."""
        return self.resolve(domain, version).model_card()

    def alias(self, domain: str, name: str, version: int | str, *, expected: int | EllipsisType | None = ...) -> None:
        """Point an alias at a version; a version that becomes champion is challenger no longer.

        expected: the version that it points at now (None for none), or `Conflict`: of all who expect the same, one wins.
            That holds for everybody on this machine who uses the same database or state folder. MLflow itself has no
            compare-and-set, so that others, on other machines or with other tools, are only seen where they wrote before this
            reads or by the time it reads again: between machines the InferenceService's resourceVersion decides, before this.
        """
        with self._asked(domain, writing=True) as client, self._alone():
            from mlflow.exceptions import MlflowException

            number = int(self._get(client, domain, version).version)
            aliases = self._aliases(client, domain)
            self._expect(domain, name, expected, aliases)
            client.set_registered_model_alias(domain, name, str(number))
            if expected is not ... and file_of(self.settings.tracking) is None:
                self._expect(domain, name, number, self._aliases(client, domain))
            if name == CHAMPION and CHALLENGER in aliases.get(number, ()):
                # What was asked for is done, and a champion is never shown as challenger.
                with contextlib.suppress(MlflowException, sqlite3.Error):
                    client.delete_registered_model_alias(domain, CHALLENGER)

    def _expect(
        self, domain: str, name: str, expected: int | EllipsisType | None, aliases: dict[int, tuple[str, ...]]
    ) -> None:
        got = next((number for number, names in aliases.items() if name in names), None)
        if expected not in (..., got):
            raise Conflict(
                f"{name} of {domain} has been moved by somebody else",
                expected=f"version {expected}" if expected is not None else "no version",
                got=f"version {got}" if got is not None else "no version",
                fix="look at what is there now, and decide again",
            )

    def correlate(self, domain: str, version: int, correlation: str) -> None:
        """Note that this version is an answer to `correlation` too; saying it twice changes nothing."""
        with self._asked(domain, writing=True) as client, self._alone():
            self._correlate(client, domain, version, correlation)

    def correlated(self, domain: str, correlation: str) -> int | None:
        """The newest version that was trained for `correlation`; none where there is none yet."""
        return next((row.version for row in self.versions(domain) if correlation in row.correlations), None)

    def _correlate(self, client: Any, domain: str, version: int, correlation: str) -> None:
        known = self._get(client, domain, version).tags.get(CORRELATION, "").split()
        if correlation and correlation not in known:
            kept = " ".join([*known, correlation][-_CORRELATIONS:])
            client.set_model_version_tag(domain, str(version), CORRELATION, kept)

    def _calibrate(self, client: Any, version: int, made: ModelCard) -> None:
        """Give a version the thresholds of a training that came to the same model."""
        entry = self._get(client, made.domain, version)
        path = places.local(entry.source)
        path = places.here(path, self.settings.models) if path is not None else None
        found = ServableVersion(
            domain=made.domain, version=version, storage_uri=entry.source, digest=made.model, path=path
        )
        known = found.model_card()
        if known.thresholds == made.thresholds:
            return
        text = known.model_copy(update={"thresholds": made.thresholds}).model_dump_json(indent=2) + "\n"
        if path is not None:
            replace(path / MODEL_CARD, text)
            return
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / MODEL_CARD).write_text(text, encoding="utf-8")
            client.log_model_artifacts(entry.model_id, scratch)

    def _add(
        self,
        client: Any,
        folder: Path,
        model_card: ModelCard,
        plots: Mapping[str, Path],
        rows_seen: Path | None,
        fit: Fit | None,
    ) -> int:
        from mlflow.entities import LoggedModelStatus

        domain = model_card.domain
        there: Path | None = None
        self._registered_model(client, domain)
        experiment = self._experiment(client, domain)
        run = self._run(client, model_card, fit, experiment, name=f"{domain} {model_card.request.as_of[:10]}")
        try:
            self._record(client, run, model_card, plots, fit)
            model = client.create_logged_model(
                experiment,
                name=domain,
                source_run_id=run,
                tags={"digest": model_card.model},
                params={"seed": str(model_card.request.seed)},
                model_type="onnx",
            )
            there = places.local(model.artifact_location)
            with tempfile.TemporaryDirectory() as scratch:
                copied = Path(scratch) / domain
                shutil.copytree(
                    folder, copied, copy_function=shutil.copyfile
                )  # bytes only: some writers make files private
                (copied / MODEL_CARD).write_text(model_card.model_dump_json(indent=2) + "\n", encoding="utf-8")
                if rows_seen is not None:
                    shutil.copyfile(rows_seen, copied / ROWS_SEEN)
                mlmodel.write(copied, digest=model_card.model, model_id=model.model_id, run=run)
                client.log_model_artifacts(model.model_id, str(copied))
            if there is not None:
                verify(there, expected=model_card.model)
            client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            # Not models:/<id>, which MLflow looks up in the process's own tracking store instead of this client's.
            made = client.create_model_version(
                domain,
                source=model.artifact_location,
                run_id=run,
                tags=_tags(model_card),
                model_id=model.model_id,
            )
        except BaseException:  # whatever stopped it, nothing may look as if it had gone well
            if there is not None:
                shutil.rmtree(there, ignore_errors=True)
            with contextlib.suppress(Exception):  # the registry may be what is gone; the first error says so
                client.set_terminated(run, status="FAILED")
            raise
        self._ended(client, run, fit)
        return int(made.version)

    def _run(self, client: Any, told: ModelCard | Trial, fit: Fit | None, experiment: str, *, name: str) -> str:
        """A new run, begun when the fit was, with who asked for it and by which code."""
        began = int(fit.began.timestamp() * 1000) if fit else None
        tags = {
            "mlflow.user": people.account(),
            "mlflow.source.name": f"hallmark train {told.domain}",
            "mlflow.source.type": "LOCAL" if file_of(self.settings.tracking) else "JOB",
            "mlflow.source.git.commit": told.code.commit,
        }
        made = client.create_run(experiment, start_time=began, tags=tags, run_name=name)
        return str(made.info.run_id)

    def _ended(self, client: Any, run: str, fit: Fit | None) -> None:
        """The run ends when the fit did: its duration is what the fit took."""
        ended = int(1000 * (fit.began.timestamp() + fit.seconds)) if fit else None
        client.set_terminated(run, end_time=ended)

    def _record(
        self, client: Any, run: str, model_card: ModelCard | Trial, plots: Mapping[str, Path], fit: Fit | None
    ) -> None:
        """Parameters, metrics with their standard errors, the learning curve, the data set and the plots of a run."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

        now = int(time.time() * 1000)
        asked = model_card.request
        parameters = {
            "origin": asked.origin,
            "as_of": asked.as_of,
            "seed": asked.seed,
            "shift": asked.shift or "none",
            "rows": model_card.data.rows,
            "data": model_card.data.digest,
            "features": model_card.features,
            "commit": model_card.code.commit + ("-dirty" if model_card.code.dirty else ""),
            **{f"option.{name}": value for name, value in asked.options.items()},
        }
        metrics = {**model_card.metrics, **{f"{name}_error": each for name, each in model_card.errors.items()}}
        if isinstance(model_card, ModelCard):
            parameters["precision"] = model_card.precision.kept
            metrics["parity_difference"] = model_card.parity.difference
        client.log_batch(
            run,
            metrics=[Metric(metric_name(name), value, now, 0) for name, value in metrics.items()],
            params=[Param(name, str(value)[:500]) for name, value in parameters.items()],
        )
        if fit is not None and fit.curve:
            began = int(fit.began.timestamp() * 1000)
            points = [Metric(metric_name(f"curve.{each.name}"), each.value, began, each.step) for each in fit.curve]
            for start in range(0, len(points), _BATCH):
                client.log_batch(run, metrics=points[start : start + _BATCH])
        data = Dataset(
            name=asked.origin[:500],
            digest=model_card.data.digest.removeprefix("sha256:")[:32],
            source_type="code" if asked.origin == "synthetic" else "local",
            source=json.dumps({"origin": asked.origin, "as_of": asked.as_of, "shift": asked.shift}),
            profile=json.dumps({"num_rows": model_card.data.rows}),
        )
        client.log_inputs(run, [DatasetInput(dataset=data, tags=[InputTag("mlflow.data.context", "training")])])
        with tempfile.TemporaryDirectory() as scratch:
            for name, path in plots.items():
                shutil.copyfile(path, Path(scratch) / name)
            client.log_artifacts(run, scratch, "plots")

    def _experiment(self, client: Any, domain: str) -> str:
        found = client.get_experiment_by_name(domain)
        if found is not None and found.lifecycle_stage == "deleted":
            raise refusals.deleted(domain, str(found.experiment_id))
        if found is not None:
            if _EXPERIMENT_KIND not in found.tags:
                client.set_experiment_tag(found.experiment_id, _EXPERIMENT_KIND, "custom_model_development")
            return str(found.experiment_id)
        # A tracking server knows where its artifacts go; a database does not.
        place = None if self.settings.tracking.startswith("http") else (self.settings.models / domain).as_uri()
        tags = {_EXPERIMENT_KIND: "custom_model_development"}
        return str(client.create_experiment(domain, artifact_location=place, tags=tags))

    def _registered_model(self, client: Any, domain: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.get_registered_model(domain)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            client.create_registered_model(domain)

    def _of_digest(self, client: Any, domain: str, digest: str) -> int | None:
        found = client.search_model_versions(f"name='{domain}' and tag.`digest`='{digest}'")
        return min((int(item.version) for item in found), default=None)

    def _aliases(self, client: Any, domain: str) -> dict[int, tuple[str, ...]]:
        from mlflow.exceptions import MlflowException

        try:
            aliases = client.get_registered_model(domain).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
        found: dict[int, tuple[str, ...]] = {}
        for name, number in sorted(aliases.items()):
            if name == CHALLENGER and number == aliases.get(CHAMPION):
                continue
            found[int(number)] = (*found.get(int(number), ()), name)
        return found

    def _get(self, client: Any, domain: str, version: int | str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            if str(version).isdigit():
                return client.get_model_version(domain, str(version))
            return client.get_model_version_by_alias(domain, str(version))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise _unknown(domain, version) from error

    @contextlib.contextmanager
    def _asked(self, domain: str, *, writing: bool = False) -> Iterator[Any]:
        """MLflow's client, in the domain's workspace; what goes wrong in it leaves as `Unavailable` or `Refused`, soon."""
        from mlflow.exceptions import MlflowException
        from mlflow.utils.workspace_context import ServerWorkspaceContext  # the one that leaves other threads alone

        self._probe(writing=writing)
        self._follow()
        try:
            with ServerWorkspaceContext(domain) if self.settings.workspaces else contextlib.nullcontext():
                yield self._client()
        except MlflowException as error:
            raise refusals.of(error, self._where) or self._unavailable(str(error).splitlines()[0]) from error
        except sqlite3.Error as error:
            raise refusals.of(error, self._where) or self._unavailable(str(error)) from error

    def _client(self) -> Any:
        if self._made is None:
            _quieten()
            from mlflow.tracking import MlflowClient

            uri = self.settings.tracking
            database, new = file_of(uri), self._is_new()
            # Two at once would both set it up, also where the second comes when the file is there and not all of its tables.
            whole = database is None or (self._lock.is_file() and self._lock.stat().st_size > 0)
            alone = new or (not whole and os.access(self._lock.parent, os.W_OK))
            with self._alone(_SET_UP) if alone else contextlib.nullcontext():
                if new and database is not None:
                    self._lock.write_bytes(b"")
                self._made = MlflowClient(tracking_uri=uri, registry_uri=uri)
                if database is not None:
                    _hurried(self._made)
                self._made.search_experiments(max_results=1)
                if (
                    new and database is not None
                ):  # MLflow's own experiment belongs to the folder that this process is in
                    places.repair(database, self.settings.models, patience=PATIENCE)
                if alone and database is not None:
                    self._lock.write_bytes(b"set up\n")
        return self._made

    @property
    def _lock(self) -> Path:
        """The file that writers of the local registry lock; not empty once the registry is set up."""
        database = file_of(self.settings.tracking)
        return self.settings.state / "registry.lock" if database is None else Path(f"{database}.lock")

    def _is_new(self) -> bool:
        """True if the local registry was never written to: known without setting one up, which takes MLflow seconds."""
        database = file_of(self.settings.tracking)
        return database is not None and not database.is_file()

    def _probe(self, *, writing: bool) -> None:
        """Find out at once that the registry is locked or gone, which MLflow would find out after many retries."""
        database = file_of(self.settings.tracking)
        try:
            if database is not None and database.is_file():
                with contextlib.closing(sqlite3.connect(database, timeout=PATIENCE, isolation_level=None)) as link:
                    link.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
                    link.execute("SELECT count(*) FROM sqlite_master").fetchone()
                    link.execute("ROLLBACK")
            elif self.settings.tracking.startswith(("http://", "https://")):
                from urllib.request import urlopen  # with it ssl and http, which a registry in a file needs none of

                url = self.settings.tracking.rstrip("/") + "/health"
                with urlopen(url, timeout=PATIENCE):  # noqa: S310  http(s) by the line above
                    pass
        except (sqlite3.Error, urllib.error.URLError, OSError) as error:
            raise refusals.of(error, self._where) or self._unavailable(str(error)) from error

    @contextlib.contextmanager
    def _alone(self, patience: float = PATIENCE) -> Iterator[None]:
        """One writer of the local registry at a time; MLflow has no compare-and-set to lean on."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(self._lock, patience=patience))
            except TimeoutError as error:
                raise self._unavailable("another process is writing to it") from error
            yield

    @property
    def _where(self) -> str:
        return f"MLflow at {shown(self.settings.tracking)}"

    def _unavailable(self, got: str) -> HallmarkError:
        return Unavailable(
            "the registry does not answer; nothing was changed in it",
            expected=self._where,
            got=got,
            fix="run it again once the registry answers; what is served is not touched",
        )


def _unknown(domain: str, version: int | str) -> NotFound:
    return NotFound(
        f"{domain} has no version {version}",
        expected="a registered version or alias",
        got=str(version),
        fix=f"hallmark versions {domain} lists them; hallmark train {domain} makes one",
    )


def _quieten() -> None:
    """Set MLflow's switches before its first import: no telemetry, no waiting, no chatter."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_CONFIGURE_LOGGING": "false",
    }.items():
        os.environ.setdefault(name, value)
    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.WARNING)


def _hurried(client: Any) -> None:
    """Have the engines of this client's database wait for a lock no longer than we do; other engines are left alone.

    MLflow sends SQLite the 20 s it wants to wait as the first statement of every session, and has no setting for it.
    """
    from sqlalchemy import event

    for store in (client._tracking_client.store, client._get_registry_client().store):
        if not event.contains(store.engine, "before_cursor_execute", _impatient):
            event.listen(store.engine, "before_cursor_execute", _impatient, retval=True)


def _impatient(_link: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> Any:
    """A statement as it was, or with our patience in place of MLflow's."""
    if statement.startswith("PRAGMA busy_timeout"):
        statement = f"PRAGMA busy_timeout = {round(PATIENCE * 1000)}"
    return statement, parameters


def file_of(tracking: str) -> Path | None:
    """The database file that a tracking URI names; None where it names a server."""
    return Path(tracking.removeprefix("sqlite:///").partition("?")[0]) if tracking.startswith("sqlite:///") else None


def _tags(model_card: ModelCard) -> dict[str, str]:
    return {
        "digest": model_card.model,
        "data": model_card.data.digest,
        "commit": model_card.code.commit,
        "metric": model_card.metric,
        "value": repr(model_card.metrics[model_card.metric]),
        "precision": model_card.precision.kept,
        **({CORRELATION: model_card.request.correlation} if model_card.request.correlation else {}),
    }


def _is_whole(item: Any) -> bool:
    return all(name in item.tags for name in _TAGS)


def _of_tags(seen: summary.Tagged) -> VersionLine:
    return VersionLine(
        version=int(seen.name),
        aliases=tuple(each for each in seen.aliases if each != CHALLENGER or CHAMPION not in seen.aliases),
        digest=seen.tags["digest"],
        data=seen.tags["data"],
        commit=seen.tags["commit"],
        metric=seen.tags["metric"],
        value=float(seen.tags["value"]),
        created=datetime.fromtimestamp(seen.created / 1000, UTC),
        precision=seen.tags.get("precision", "fp32"),
        correlations=tuple(seen.tags.get(CORRELATION, "").split()),
    )


def _trial_tags(trial: Trial) -> dict[str, str]:
    error = trial.errors.get(trial.metric)
    return {
        OUTCOME: trial.outcome,
        "hallmark.experiment": trial.experiment,
        "hallmark.passed": "true" if trial.decision.passed else "false",
        "hallmark.reason": "; ".join(trial.decision.reasons),
        "metric": trial.metric,
        "value": repr(trial.metrics[trial.metric]),
        "data": trial.data.digest,
        **({"error": repr(error)} if error is not None else {}),
        "options": ", ".join(f"{name}={value}" for name, value in sorted(trial.request.options.items())),
        **({CORRELATION: trial.request.correlation} if trial.request.correlation else {}),
    }


def _trial_line(seen: summary.Tagged) -> TrialLine:
    tags = seen.tags
    return TrialLine(
        run=seen.name,
        experiment=tags.get("hallmark.experiment", ""),
        outcome=tags[OUTCOME],
        reason=tags.get("hallmark.reason", ""),
        passed=tags.get("hallmark.passed") == "true",
        metric=tags.get("metric", ""),
        value=float(tags.get("value", "nan")),
        error=float(tags["error"]) if "error" in tags else None,
        options=tags.get("options", ""),
        data=tags.get("data", ""),
        created=datetime.fromtimestamp(seen.created / 1000, UTC),
        seconds=((seen.ended or seen.created) - seen.created) / 1000,
        folder=seen.folder,
    )


def _version(item: Any, aliases: tuple[str, ...]) -> VersionLine:
    return VersionLine(
        version=int(item.version),
        aliases=aliases,
        digest=item.tags["digest"],
        data=item.tags["data"],
        commit=item.tags["commit"],
        metric=item.tags["metric"],
        value=float(item.tags["value"]),
        created=datetime.fromtimestamp(item.creation_timestamp / 1000, UTC),
        precision=item.tags.get("precision", "fp32"),  # a version of before there was a choice
        correlations=tuple(item.tags.get(CORRELATION, "").split()),
    )


def metric_name(name: str) -> str:
    """The name as MLflow takes one: ndcg@10 is ndcg_at_10 there, and what else it does not take is an underscore."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))
