"""Versions shared without a cluster: pushed to a folder or a bucket by digest, and pulled from there into another registry.

<target>/<domain>/blobs/<sha256>           a file of a model folder, by its content; versions share what is the same
<target>/<domain>/models/<sha256>.json     a model: its files by name and digest; written once all of them are there
<target>/<domain>/versions/<n>.json        which model a version was where it was pushed from; digests/<sha256>.json and latest.json likewise

What breaks off goes on: a blob that is there is not sent again, and one that came is not fetched again. Nothing that was pulled is believed:
each file has to have its digest, the folder the model's, and the model's file the digest that it is named by.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import Field, ValidationError

from hallmark.artifacts import folder as folders
from hallmark.artifacts import model_card as model_cards
from hallmark.errors import ContractBroken, DeclarationError, ModelRefused, NotFound
from hallmark.feature_store.bucket import SCHEME, Bucket
from hallmark.files import digest_file, replace
from hallmark.section import Frozen

if TYPE_CHECKING:
    from hallmark.registry.store import Registry

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHANGED = "a file of the model was changed where it lies; nothing was registered"
Progress = Callable[[int, int, str], None]


class _Pushed(Frozen):
    """A model in a target.   files: digest by name, of all that lies in its folder."""

    domain: str
    digest: str
    created: datetime
    files: dict[str, str] = Field(min_length=1)


class _Version(Frozen):
    version: int
    model: str
    created: datetime


class Shared(Frozen):
    """What was pushed or pulled.   sent: files that were not there yet.   version: of this registry."""

    domain: str
    version: int
    digest: str
    files: int
    sent: int
    target: str


class Store(Protocol):
    """A place that is pushed to."""

    def has(self, key: str, digest: str) -> bool:
        """Is there something by this name? In a folder, with this digest too: a copy that broke off is sent again."""

    def put(self, path: Path, key: str) -> None:
        """Have the content of a file there; whole, or not at all."""

    def read(self, key: str) -> bytes | None:
        """A short text; None where there is none."""

    def get(self, key: str, path: Path, digest: str) -> None:
        """Have it at `path`; `ModelRefused` where it has another digest."""


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    def has(self, key: str, digest: str) -> bool:
        return (path := self._root / key).is_file() and digest_file(path) == digest

    def put(self, path: Path, key: str) -> None:
        there = self._root / key
        there.parent.mkdir(parents=True, exist_ok=True)
        part = there.with_name(f".{there.name}.part")
        shutil.copyfile(path, part)
        part.replace(there)

    def read(self, key: str) -> bytes | None:
        path = self._root / key
        return path.read_bytes() if path.is_file() else None

    def get(self, key: str, path: Path, digest: str) -> None:
        if not (self._root / key).is_file():
            raise NotFound(
                f"{self}/{key} is not there", expected="what the model names", got="no file", fix="push it again"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        shutil.copyfile(self._root / key, part)
        if (got := digest_file(part)) != digest:
            part.unlink()
            raise ModelRefused(_CHANGED, expected=digest, got=got, fix=f"push it again to {self}: {key} is sent anew")
        part.replace(path)


class _Bucket:
    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def __str__(self) -> str:
        return str(self._bucket)

    def has(self, key: str, digest: str) -> bool:
        return self._bucket.age(key) is not None

    def put(self, path: Path, key: str) -> None:
        self._bucket.upload(path, key)

    def read(self, key: str) -> bytes | None:
        found = self._bucket.read(key)
        return found[0] if found else None

    def get(self, key: str, path: Path, digest: str) -> None:
        try:
            self._bucket.download(key, path, digest)
        except ContractBroken as error:
            fix = f"push it again to {self}, once {key} is removed"
            raise ModelRefused(_CHANGED, expected=digest, got=error.got, fix=fix) from error


def store(target: str, domain: str) -> Store:
    """The place of a domain's models in a target: a folder, or s3://bucket/prefix."""
    if target.startswith(SCHEME):
        return _Bucket(Bucket.at(target).below(domain))
    if "://" in target:
        raise DeclarationError(
            "models cannot be shared there", expected="a folder, or s3://bucket/prefix", got=target, fix="name another"
        )
    return _Folder(Path(target).expanduser().resolve() / domain)


def push(
    registry: Registry, domain: str, wanted: str, target: str, *, progress: Progress = lambda done, total, note: None
) -> Shared:
    """Have a version (a number or an alias) in a target, by digest; what is there already is not sent again."""
    released = registry.resolve(domain, wanted)
    folder, there = released.fetch(), store(target, domain)
    card = model_cards.read(folder)
    found = sorted(folders.listed(folder).items())
    names = {name: digest_file(path) for name, path in found if name != folders.LEFT_BY_MLFLOW}
    sent = 0
    for done, (name, digest) in enumerate(names.items()):
        progress(done, len(names), name)
        if not there.has(key := _blob(digest), digest):
            there.put(folder / name, key)
            sent += 1
    pushed = _Pushed(domain=domain, digest=released.digest, created=card.created, files=names)
    text = pushed.model_dump_json(indent=2) + "\n"
    model = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    version = _Version(version=released.version, model=model, created=card.created)
    _put_text(there, f"models/{model.removeprefix('sha256:')}.json", text, registry)
    _put_text(there, f"digests/{released.digest.removeprefix('sha256:')}.json", version.model_dump_json(), registry)
    _put_text(there, f"versions/{released.version}.json", version.model_dump_json(), registry)
    _put_text(there, "latest.json", version.model_dump_json(), registry)
    progress(len(names), len(names), "")
    return Shared(
        domain=domain,
        version=released.version,
        digest=released.digest,
        files=len(names),
        sent=sent,
        target=str(there),
    )


def pull(
    registry: Registry, domain: str, wanted: str, target: str, *, progress: Progress = lambda done, total, note: None
) -> Shared:
    """Register a model of a target here: a version as it was numbered there, a digest, or "" for what was pushed last.

    It is nobody's challenger. `ModelRefused` where one byte of it is another; then nothing was registered.
    """
    there = store(target, domain)
    pushed = _found(there, domain, wanted, target)
    known = next((line.version for line in registry.versions(domain) if line.digest == pushed.digest), None)
    if known is not None:  # the same digest is the same bytes
        return Shared(
            domain=domain, version=known, digest=pushed.digest, files=len(pushed.files), sent=0, target=str(there)
        )
    scratch = registry.settings.state / "pulled" / pushed.digest.removeprefix("sha256:")
    came = 0
    for done, (name, digest) in enumerate(pushed.files.items()):
        progress(done, len(pushed.files), name)
        path = scratch / name
        if path.is_file() and digest_file(path) == digest:
            continue
        path.unlink(missing_ok=True)
        there.get(_blob(digest), path, digest)
        came += 1
    for lock in scratch.rglob("*.lock"):  # of downloads
        lock.unlink()
    progress(len(pushed.files), len(pushed.files), "")
    folders.verify(scratch, expected=pushed.digest)
    card, seen = model_cards.read(scratch), scratch / folders.ROWS_SEEN
    if card.domain != domain:
        raise ModelRefused("the model is of another domain", expected=domain, got=card.domain)
    if card.rows_seen and (not seen.is_file() or digest_file(seen) != card.rows_seen):
        raise ModelRefused(_CHANGED, expected=card.rows_seen, got=folders.ROWS_SEEN, fix="push it again")
    (scratch / folders.MODEL_CARD).rename(kept := scratch.with_suffix(".card"))  # it is written anew beside the model
    held = scratch.with_suffix(".rows")
    if seen.is_file():
        seen.rename(held)
    version = registry.register(scratch, card, rows_seen=held if held.is_file() else None, challenger=False)
    shutil.rmtree(scratch)
    kept.unlink()
    held.unlink(missing_ok=True)
    return Shared(
        domain=domain, version=version, digest=pushed.digest, files=len(pushed.files), sent=came, target=str(there)
    )


def _found(there: Store, domain: str, wanted: str, target: str) -> _Pushed:
    where = "latest.json" if not wanted else f"versions/{wanted}.json"
    if _DIGEST.fullmatch(wanted):
        where = f"digests/{wanted.removeprefix('sha256:')}.json"
    elif wanted and not wanted.isdigit():
        raise DeclarationError(
            "a target knows versions and whole digests, and no aliases",
            expected=f"{domain}, {domain}@3 or {domain}@sha256:…",
            got=f"{domain}@{wanted}",
        )
    read = there.read(where)
    if read is None:
        raise NotFound(
            f"{target} has no {domain}{f'@{wanted}' if wanted else ''}",
            expected="a version that was pushed there",
            got="none",
            fix=f"hallmark models push {domain}@VERSION {target}, where it is registered",
        )
    try:
        model = _Version.model_validate_json(read).model
        text = there.read(f"models/{model.removeprefix('sha256:')}.json") or b""
        if (got := f"sha256:{hashlib.sha256(text).hexdigest()}") != model:
            raise ModelRefused(_CHANGED, expected=model, got=got, fix="push it again")
        pushed = _Pushed.model_validate_json(text)
    except ValidationError as error:
        raise ModelRefused(
            "what lies there is no model that was pushed",
            expected=where,
            got=str(error).splitlines()[0],
            fix="push it again",
        ) from error
    wrong = [name for name in pushed.files if not _plain(name)]
    if pushed.domain != domain or wrong or (_DIGEST.fullmatch(wanted) and pushed.digest != wanted):
        raise ModelRefused(
            "what lies there is another model", expected=wanted or domain, got=wrong[0] if wrong else pushed.digest
        )
    return pushed


def _plain(name: str) -> bool:
    """May a file of a model folder be called so? What is not loaded is named by itself."""
    return name in folders.BESIDE or folders.loadable(name)


def _blob(digest: str) -> str:
    return f"blobs/{digest.removeprefix('sha256:')}"


def _put_text(there: Store, key: str, text: str, registry: Registry) -> None:
    path = registry.settings.state / "pulled" / "text"
    replace(path, text)
    there.put(path, key)
    path.unlink(missing_ok=True)


def parted(reference: str) -> tuple[str, str]:
    """Domain and version of fraud@3, fraud@champion or fraud; the version is empty where none is named."""
    domain, _, version = reference.partition("@")
    return domain, version
