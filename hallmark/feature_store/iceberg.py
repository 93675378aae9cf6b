"""Training sets as snapshots of an Iceberg table: the same files under the same digest as in a folder, for whoever reads Iceberg.

A table holds the newest set; an older one is read by its snapshot, which a tag keeps from being expired. What was written is told by the
manifest in the snapshot's summary, whose digest the model card has; a snapshot that is gone, or is not that, is refused.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hallmark import extras, files
from hallmark.errors import Conflict, ContractBroken, DeclarationError, NotFound, Unavailable
from hallmark.feature_store import snapshots
from hallmark.feature_store.snapshots import Training

if TYPE_CHECKING:
    import pyarrow as pa

    from hallmark.declaration.feature_view import FeatureView

SCHEME = "iceberg://"
_FORM = "iceberg://CATALOG/NAMESPACE, such as iceberg://local/training_sets"
_DIGEST, _MANIFEST, _TAG = "hallmark.digest", "hallmark.manifest", "set-"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class Held(NamedTuple):
    """A training set with rows that somebody looked for. tag: keeps its snapshot. newest: its rows are the table's."""

    catalog: str
    table: str
    snapshot: int
    tag: str
    rows: int
    newest: bool

    @property
    def removal(self) -> str:
        """What removes the set, in Spark's SQL."""
        tag = f"ALTER TABLE {self.catalog}.{self.table} DROP TAG `{self.tag}`; " if self.tag else ""
        gone = f"CALL {self.catalog}.system.expire_snapshots(table => '{self.table}', snapshot_ids => ARRAY({self.snapshot}))"
        return ("train again, so that another set is the newest; then " if self.newest else "") + tag + gone


@dataclass(frozen=True)
class Place:
    """A namespace of a catalog. catalog: as pyiceberg's configuration names it; one that it does not name is SQLite and files in `folder`."""

    catalog: str
    namespace: str
    folder: Path

    @classmethod
    def at(cls, address: str, folder: Path) -> Place:
        """The place of this address; `DeclarationError` where it is none."""
        catalog, _, namespace = address.removeprefix(SCHEME).partition("/")
        if not (address.startswith(SCHEME) and _NAME.fullmatch(catalog) and _NAME.fullmatch(namespace)):
            raise DeclarationError("this is no place of training sets in Iceberg", expected=_FORM, got=address)
        return cls(catalog, namespace, folder / catalog)

    def write(
        self,
        table: str,
        parts: Sequence[Path],
        *,
        time: str,
        views: Sequence[FeatureView],
        sources: Mapping[str, str],
    ) -> tuple[int, str]:
        """Keep a training frame's files as a snapshot of a table; its id, and the digest that `read` asks for. What is there already is left as it is."""
        with tempfile.TemporaryDirectory(prefix="hallmark_iceberg_") as folder:
            digest = snapshots.write(parts, Path(folder), time=time, views=views, sources=sources)
            training, paths = snapshots.read(Path(folder), digest)
            with self._asked():
                held = self._table(table, paths[0])
                known = next((each for each in held.snapshots() if _said(each, _DIGEST) == digest), None)
                if known is not None:
                    return int(known.snapshot_id), digest
                return _added(held, training, digest, paths), digest

    def read(self, table: str, snapshot: int, digest: str, into: Path) -> tuple[Training, list[Path]]:
        """A training set's manifest and its files, brought to `into`, every byte checked; `ContractBroken` where it is not what was written."""
        from pyiceberg.exceptions import NoSuchTableError

        with self._asked():
            try:
                held = self._catalog().load_table((self.namespace, table))
            except NoSuchTableError as error:
                raise NotFound(
                    f"there is no table {self.namespace}.{table} in {self.catalog}", got=str(error)
                ) from error
            found = held.snapshot_by_id(snapshot)
            if found is None:
                raise NotFound(
                    f"snapshot {snapshot} of {self.namespace}.{table} is gone",
                    expected=f"the training set {digest}",
                    got="it was expired, or the table was made anew",
                    fix="make the set again: the same views and rows give the same digest",
                )
            text = _said(found, _MANIFEST)
            _demand(digest, files.digest_text(text), f"the manifest of snapshot {snapshot}")
            training = Training.model_validate_json(text)
            planned = {task.file.file_path: task for task in held.scan(snapshot_id=snapshot).plan_files()}
            places = {path.rpartition("/")[2]: path for path in planned}
            wanted = [part.file for part in training.parts if part.rows]
            if sorted(places) != sorted(wanted) or any(task.delete_files for task in planned.values()):
                raise _altered(
                    f"snapshot {snapshot}", f"the files {', '.join(wanted)}", ", ".join(sorted(places)) or "none"
                )
            into.mkdir(parents=True, exist_ok=True)
            for part in training.parts:
                with (
                    held.io.new_input(_data(held, digest, part.file)).open() as source,
                    (into / part.file).open("wb") as out,
                ):
                    shutil.copyfileobj(source, out)
                _demand(part.digest, files.digest_file(into / part.file), f"{part.file} of snapshot {snapshot}")
        return training, [into / part.file for part in training.parts]

    def holding(self, count: Callable[[pa.Table], int]) -> list[Held]:
        """The training sets that are still there and have rows of which `count` counts any, oldest first; none where nobody kept one here."""
        if not self._configured() and not self.folder.is_dir():
            return []
        import pyarrow as pa

        found = []
        with self._asked():
            from pyiceberg.exceptions import NoSuchNamespaceError

            catalog = self._catalog()
            try:
                names = sorted(catalog.list_tables(self.namespace))
            except NoSuchNamespaceError:
                return []
            for name in names:
                held = catalog.load_table(name)
                tags = {ref.snapshot_id: tag for tag, ref in held.refs().items() if tag.startswith(_TAG)}
                for each in held.snapshots():
                    if not _said(each, _DIGEST):
                        continue
                    batches = held.scan(snapshot_id=each.snapshot_id).to_arrow_batch_reader()
                    if rows := sum(count(pa.Table.from_batches([batch])) for batch in batches):
                        newest = each == held.current_snapshot()
                        table = f"{self.namespace}.{name[-1]}"
                        found.append(
                            Held(self.catalog, table, each.snapshot_id, tags.get(each.snapshot_id, ""), rows, newest)
                        )
        return found

    def _configured(self) -> dict[str, Any]:
        """What pyiceberg's configuration says of the catalog; nothing where it does not name it."""
        try:
            from pyiceberg.utils.config import Config
        except ModuleNotFoundError as error:
            raise extras.not_installed(
                error, what="table format", otherwise="keep training sets in a folder: HALLMARK_TRAINING_SETS"
            ) from error
        return dict(Config().get_catalog_config(self.catalog) or {})

    def _catalog(self) -> Any:
        configured = self._configured()
        from pyiceberg.catalog import load_catalog

        if configured:
            return load_catalog(self.catalog, **configured)
        self.folder.mkdir(parents=True, exist_ok=True)
        where = {"uri": f"sqlite:///{self.folder / 'catalog.db'}", "warehouse": self.folder.as_uri()}
        return load_catalog(self.catalog, type="sql", **where)

    def _table(self, name: str, path: Path) -> Any:
        """The table, made where it is not, with a column for each of this file."""
        import pyarrow.parquet as pq

        catalog, schema = self._catalog(), pq.read_schema(path)
        catalog.create_namespace_if_not_exists(self.namespace)
        held = catalog.create_table_if_not_exists((self.namespace, name), schema)
        with held.update_schema() as update:
            update.union_by_name(schema)
        return held

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        """Errors of Iceberg and of its catalogs as ours."""
        try:
            from pyiceberg import exceptions as of_iceberg
            from sqlalchemy.exc import SQLAlchemyError
        except ModuleNotFoundError as error:
            raise extras.not_installed(
                error, what="table format", otherwise="keep training sets in a folder: HALLMARK_TRAINING_SETS"
            ) from error
        try:
            yield
        except of_iceberg.CommitFailedException as error:
            raise Conflict(
                f"somebody else wrote to {self.namespace} of {self.catalog}", got=str(error), fix="run it again"
            ) from error
        except (of_iceberg.RESTError, of_iceberg.ServiceUnavailableError, SQLAlchemyError, OSError) as error:
            raise Unavailable(
                f"the Iceberg catalog {self.catalog} does not answer",
                expected="a catalog, and a warehouse that this process may write",
                got=f"{type(error).__name__}: {error}",
                fix="see pyiceberg's configuration (~/.pyiceberg.yaml, PYICEBERG_CATALOG__…)",
            ) from error
        except (of_iceberg.ValidationError, ValueError, NotImplementedError) as error:
            raise DeclarationError(
                f"this set does not fit into Iceberg's {self.namespace} of {self.catalog}",
                expected="columns of one type from set to set: whole numbers, floats, texts, bools, times in microseconds",
                got=str(error),
                fix="name another namespace in HALLMARK_TRAINING_SETS, or a folder",
            ) from error


def _added(held: Any, training: Training, digest: str, paths: Sequence[Path]) -> int:
    """Write the files and the snapshot that has them and no others; its id."""
    from pyiceberg.expressions import AlwaysTrue

    places = []
    for path in paths:
        places.append(_data(held, digest, path.name))
        with path.open("rb") as source, held.io.new_output(places[-1]).create(overwrite=True) as out:
            shutil.copyfileobj(source, out)
    with held.transaction() as change:
        if held.current_snapshot() is not None:
            change.delete(AlwaysTrue())
        change.add_files(
            places, snapshot_properties={_DIGEST: digest, _MANIFEST: training.text()}, check_duplicate_files=False
        )
    made = held.current_snapshot()
    held.manage_snapshots().create_tag(made.snapshot_id, f"{_TAG}{digest.partition(':')[2][:16]}").commit()
    return int(made.snapshot_id)


def _data(held: Any, digest: str, name: str) -> str:
    return f"{held.location()}/data/{digest.partition(':')[2]}/{name}"


def _said(snapshot: Any, key: str) -> str:
    return str(snapshot.summary.additional_properties.get(key, "")) if snapshot.summary else ""


def _demand(expected: str, got: str, what: str) -> None:
    if got != expected:
        raise _altered(what, expected, got)


def _altered(what: str, expected: str, got: str) -> ContractBroken:
    return ContractBroken(
        f"{what} of a training set is not what was written",
        expected=expected,
        got=got,
        fix="make the set again: the same views and rows give the same digest",
    )
