"""The versions of each domain, in MLflow: one experiment and one registered model a domain, a model card with every version.

Register's last act is the one that makes a version, so that a registry which fails half-way has nothing half-registered.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import sqlite3
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import EllipsisType
from typing import Any

from hallmark.artifacts import model_card as model_cards
from hallmark.artifacts.folder import MODEL_CARD, verify
from hallmark.artifacts.model_card import ModelCard
from hallmark.errors import Conflict, HallmarkError, NotFound, Unavailable
from hallmark.files import locked
from hallmark.registry import places, refusals, summary
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
        database = _database(self.settings.tracking)
        if database is None or not database.is_file():
            return Places()
        try:
            with contextlib.nullcontext() if dry else self._alone():
                return places.repair(database, self.settings.models, patience=PATIENCE, dry=dry)
        except sqlite3.Error as error:
            raise refusals.of(error, self._where) or self._unavailable(str(error)) from error

    def _follow(self) -> None:
        """Repair a registry whose state folder was moved since, so that MLflow finds its artifacts too; where it cannot be written, nothing is."""
        database = _database(self.settings.tracking)
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
        database = _database(self.settings.tracking)
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

    def register(self, folder: Path, model_card: ModelCard, *, plots: Mapping[str, Path] | None = None) -> int:
        """Register the sealed model in `folder` as challenger; the same digest is the same version, and stays where it is.

        That version then carries the correlation of both requests, and the model card of the first.
        """
        verify(folder, expected=model_card.model)
        with self._asked(model_card.domain, writing=True) as client, self._alone():
            found = self._of_digest(client, model_card.domain, model_card.model)
            if found is not None:
                self._correlate(client, model_card.domain, found, model_card.request.correlation)
                return found
            number = self._add(client, folder, model_card, plots or {})
            client.set_registered_model_alias(model_card.domain, CHALLENGER, str(number))
            return number

    def versions(self, domain: str) -> list[VersionLine]:
        """All versions of a domain, newest first; none for a domain that was never trained."""
        if self._is_new():
            return []
        with self._asked(domain) as client:
            aliases = self._aliases(client, domain)
            found = client.search_model_versions(f"name='{domain}'", max_results=1000)
        rows = [_version(item, aliases.get(int(item.version), ())) for item in found if _is_whole(item)]
        return sorted(rows, key=lambda row: -row.version)

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
        database = _database(self.settings.tracking)
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
        released = self.resolve(domain, version)
        return model_cards.read(released.path if released.path is not None else released.fetch())

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
            if expected is not ... and _database(self.settings.tracking) is None:
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

    def _add(self, client: Any, folder: Path, model_card: ModelCard, plots: Mapping[str, Path]) -> int:
        from mlflow.entities import LoggedModelStatus

        domain = model_card.domain
        there: Path | None = None
        self._registered_model(client, domain)
        run = client.create_run(self._experiment(client, domain), run_name=f"{domain} {model_card.request.as_of[:10]}")
        try:
            self._log(client, run.info.run_id, model_card, plots)
            model = client.create_logged_model(
                run.info.experiment_id,
                name=domain,
                source_run_id=run.info.run_id,
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
                client.log_model_artifacts(model.model_id, str(copied))
            if there is not None:
                verify(there, expected=model_card.model)
            client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            # Not models:/<id>, which MLflow looks up in the process's own tracking store instead of this client's.
            made = client.create_model_version(
                domain,
                source=model.artifact_location,
                run_id=run.info.run_id,
                tags=_tags(model_card),
                model_id=model.model_id,
            )
        except BaseException:  # whatever stopped it, nothing may look as if it had gone well
            if there is not None:
                shutil.rmtree(there, ignore_errors=True)
            with contextlib.suppress(Exception):  # the registry may be what is gone; the first error says so
                client.set_terminated(run.info.run_id, status="FAILED")
            raise
        client.set_terminated(run.info.run_id)
        return int(made.version)

    def _log(self, client: Any, run: str, model_card: ModelCard, plots: Mapping[str, Path]) -> None:
        from mlflow.entities import Metric, Param

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
            "precision": model_card.precision.kept,
            **{f"option.{name}": value for name, value in asked.options.items()},
        }
        metrics = {**model_card.metrics, "parity_difference": model_card.parity.difference}
        client.log_batch(
            run,
            metrics=[Metric(metric_name(name), value, now, 0) for name, value in metrics.items()],
            params=[Param(name, str(value)[:500]) for name, value in parameters.items()],
        )
        with tempfile.TemporaryDirectory() as scratch:
            for name, path in plots.items():
                shutil.copyfile(path, Path(scratch) / name)
            client.log_artifacts(run, scratch, "plots")

    def _experiment(self, client: Any, domain: str) -> str:
        found = client.get_experiment_by_name(domain)
        if found is not None and found.lifecycle_stage == "deleted":
            raise refusals.deleted(domain, str(found.experiment_id))
        if found is not None:
            return str(found.experiment_id)
        # A tracking server knows where its artifacts go; a database does not.
        place = None if self.settings.tracking.startswith("http") else (self.settings.models / domain).as_uri()
        return str(client.create_experiment(domain, artifact_location=place))

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
            database, new = _database(uri), self._is_new()
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
        database = _database(self.settings.tracking)
        return self.settings.state / "registry.lock" if database is None else Path(f"{database}.lock")

    def _is_new(self) -> bool:
        """True if the local registry was never written to: known without setting one up, which takes MLflow seconds."""
        database = _database(self.settings.tracking)
        return database is not None and not database.is_file()

    def _probe(self, *, writing: bool) -> None:
        """Find out at once that the registry is locked or gone, which MLflow would find out after many retries."""
        database = _database(self.settings.tracking)
        try:
            if database is not None and database.is_file():
                with contextlib.closing(sqlite3.connect(database, timeout=PATIENCE, isolation_level=None)) as link:
                    link.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
                    link.execute("SELECT count(*) FROM sqlite_master").fetchone()
                    link.execute("ROLLBACK")
            elif self.settings.tracking.startswith(("http://", "https://")):
                url = self.settings.tracking.rstrip("/") + "/health"
                with urllib.request.urlopen(url, timeout=PATIENCE):  # noqa: S310  http(s) by the line above
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


def _database(tracking: str) -> Path | None:
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
