"""Objects below a prefix of an S3 bucket: read, written only where nobody else wrote since, and brought here by digest.

A key stands for one content for ever, but for those that are written with a tag. An upload is there whole or not at all, as S3 keeps it.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from hallmark import extras, files
from hallmark.errors import ContractBroken, DeclarationError, HallmarkError, NotFound, Unavailable
from hallmark.feature_store import aws

SCHEME = "s3://"
FORM = "s3://bucket/prefix, or s3://bucket/prefix?region=eu-central-1&endpoint=https://host"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=@-]*(/[A-Za-z0-9][A-Za-z0-9._=@-]*)*")
_CONNECT, _READ = 5.0, 30.0
"""Seconds to connect, and between two parts of an answer."""
_TRIES = 5
"""How often a download that broke off goes on from where it was."""
_PATIENCE = 3600.0
"""Seconds for another process of this machine that brings the same object here."""
_PAUSE = 0.2
_CHUNK = 1 << 20
_LARGE = 64 << 20
"""Bytes from which on an object is sent in parts."""
_FORBIDDEN = {
    *("403", "AccessDenied", "AllAccessDisabled", "ExpiredToken", "Forbidden", "InvalidAccessKeyId", "InvalidToken"),
    *("SignatureDoesNotMatch", "KMS.AccessDeniedException"),
}
_CHANGED = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_ABSENT = {"404", "NoSuchKey", "NotFound"}


class Bucket:
    """What lies below a prefix. Credentials are found as boto3 finds them.

    `NotFound` where the bucket is not there, `HallmarkError` where it is not ours to use, `Unavailable` where it does not answer.
    """

    def __init__(self, client: Any, name: str, prefix: str) -> None:
        self._client = client
        self._name = name
        self._prefix = prefix

    @classmethod
    def at(cls, address: str) -> Bucket:
        """What lies at s3://bucket/prefix; nothing is asked yet. `DeclarationError` where this is no address."""
        name, prefix, options = _parsed(address)
        try:
            import boto3  # type: ignore[import-untyped]
            from botocore.config import Config  # type: ignore[import-untyped]
            from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
        except ModuleNotFoundError as error:
            raise extras.not_installed(
                error, what="offline store", otherwise="name a folder in HALLMARK_FEATURE_OFFLINE"
            ) from error
        endpoint = options.get("endpoint")
        config = Config(
            connect_timeout=_CONNECT,
            read_timeout=_READ,
            retries={"mode": "standard", "total_max_attempts": 4},
            s3={"addressing_style": "path"} if endpoint else None,  # another server seldom has a host for each bucket
        )
        try:
            client = boto3.session.Session().client(
                "s3", config=config, region_name=options.get("region"), endpoint_url=endpoint
            )
        except (BotoCoreError, ValueError) as error:
            raise DeclarationError(
                "the address of the offline store is not whole", expected=FORM, got=str(error)
            ) from error
        return cls(client, name, prefix)

    def below(self, part: str) -> Bucket:
        """What lies below a part of the prefix."""
        return Bucket(self._client, self._name, f"{self._prefix}{part}/")

    def __str__(self) -> str:
        return f"{SCHEME}{self._name}/{self._prefix.removesuffix('/')}"

    def read(self, key: str) -> tuple[bytes, str] | None:
        """An object's content, and the tag of this content; none where nothing is there."""
        with self._asked(f"read {key}"):
            try:
                answer = self._client.get_object(Bucket=self._name, Key=self._prefix + key)
                with contextlib.closing(answer["Body"]) as body:
                    return bytes(body.read()), str(answer["ETag"])
            except self._client.exceptions.ClientError as error:
                # Who may list names by prefix alone is told that a name that is not there is forbidden.
                if _code(error) in _ABSENT or (_code(error) in _FORBIDDEN and self._absent(key)):
                    return None
                raise

    def write(self, key: str, content: bytes, *, tag: str | None) -> bool:
        """Put an object there if it still is what `tag` stands for, or none is there where that is none; False where it is another by now."""
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        with self._asked(f"write {key}"):
            try:
                self._client.put_object(Bucket=self._name, Key=self._prefix + key, Body=content, **condition)
                return True
            except self._client.exceptions.ClientError as error:
                if _code(error) in _CHANGED or (tag is not None and _code(error) in _ABSENT):
                    return False
                raise

    def listed(self) -> dict[str, float]:
        """The keys of all objects, sorted, each with the seconds since it was written, by the server's clock."""
        found: dict[str, float] = {}
        with self._asked("list what is there"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=self._prefix):
                for each in page.get("Contents", ()):
                    found[each["Key"].removeprefix(self._prefix)] = _now(page) - each["LastModified"].timestamp()
        return found

    def remove(self, key: str) -> None:
        """Take an object away; one that is not there may be too. A bucket that keeps versions keeps this one."""
        with self._asked(f"remove {key}"):
            self._client.delete_object(Bucket=self._name, Key=self._prefix + key)

    def upload(self, path: Path, key: str) -> None:
        """Put a file there; nobody sees a part of it."""
        from boto3.exceptions import S3UploadFailedError  # type: ignore[import-untyped]
        from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped]

        with self._asked(f"write {key}"):
            try:
                self._client.upload_file(
                    str(path), self._name, self._prefix + key, Config=TransferConfig(multipart_threshold=_LARGE)
                )
            except S3UploadFailedError as error:
                if error.__context__ is None:
                    raise
                raise error.__context__ from None  # what S3 said

    def age(self, key: str) -> float | None:
        """Seconds since an object was written, by the server's clock; none where nothing is there."""
        with self._asked(f"look at {key}"):
            answer = self._client.list_objects_v2(Bucket=self._name, Prefix=self._prefix + key, MaxKeys=1)
            times = [each["LastModified"] for each in answer.get("Contents", ()) if each["Key"] == self._prefix + key]
            return _now(answer) - times[0].timestamp() if times else None

    def _absent(self, key: str) -> bool:
        """Is nothing there? False where that is forbidden to ask too."""
        try:
            return self.age(key) is None
        except HallmarkError:
            return False

    def folders(self) -> list[str]:
        """The first parts of the keys that have more, sorted."""
        found = []
        with self._asked("list what is there"):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._name, Prefix=self._prefix, Delimiter="/"):
                names = (each["Prefix"] for each in page.get("CommonPrefixes", ()))
                found += [name.removeprefix(self._prefix).removesuffix("/") for name in names]
        return sorted(found)

    def names(self) -> list[str]:
        """The keys of the objects that are there, sorted."""
        found = []
        with self._asked("list what is there"):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._name, Prefix=self._prefix):
                found += [each["Key"].removeprefix(self._prefix) for each in page.get("Contents", ())]
        return sorted(found)

    def purge(self, gone: Callable[[str, float], bool]) -> None:
        """Remove every version of an object, and every mark of a removal, of which `gone` is true: its key, and seconds since it was written."""
        with self._asked("remove objects"):
            pages = self._client.get_paginator("list_object_versions")
            for page in pages.paginate(Bucket=self._name, Prefix=self._prefix):
                for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                    name, age = each["Key"], _now(page) - each["LastModified"].timestamp()
                    if gone(name.removeprefix(self._prefix), age):
                        self._client.delete_object(Bucket=self._name, Key=name, VersionId=each["VersionId"])

    def download(self, key: str, path: Path, digest: str) -> None:
        """Have an object at `path`, whole and with this digest; a download that broke off, or was killed, goes on.

        `ContractBroken` where it has another digest, `NotFound` where it is gone.
        """
        part = path.with_name(f"{path.name}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.locked(path.with_name(f"{path.name}.lock"), patience=_PATIENCE):
            if path.is_file():
                return
            resumed = part.is_file()
            self._fetch(key, part)
            got = files.digest_file(part)
            if got != digest and resumed:  # what was there may be none of it
                part.unlink()
                self._fetch(key, part)
                got = files.digest_file(part)
            if got != digest:
                part.unlink()
                raise ContractBroken(
                    f"{self}/{key} is not what was appended",
                    expected=digest,
                    got=got,
                    fix="bring the object back from an older version of it, or from a copy",
                )
            part.replace(path)

    def _fetch(self, key: str, part: Path) -> None:
        """Read on from where `part` ends."""
        from botocore.exceptions import (
            ConnectionClosedError,
            IncompleteReadError,
            ReadTimeoutError,
            ResponseStreamingError,
        )

        broken = (ConnectionClosedError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
        for turn in range(_TRIES):
            begin = part.stat().st_size if part.is_file() else 0
            where = {"Range": f"bytes={begin}-"} if begin else {}
            with self._asked(f"read {key}"):
                try:
                    answer = self._client.get_object(Bucket=self._name, Key=self._prefix + key, **where)
                    with contextlib.closing(answer["Body"]) as body, part.open("ab" if begin else "wb") as stream:
                        for chunk in body.iter_chunks(_CHUNK):
                            stream.write(chunk)
                    return
                except broken:
                    if turn + 1 == _TRIES:
                        raise
                except self._client.exceptions.ClientError as error:
                    if _code(error) in ("InvalidRange", "416"):  # it was read to its end
                        return
                    if _code(error) not in _ABSENT:
                        raise
                    raise NotFound(
                        f"{self}/{key} is gone",
                        expected="a batch that the source names",
                        got="no object",
                        fix="rows were erased while it was read: run it again; else bring the object back from a copy",
                    ) from error
            time.sleep(_PAUSE * 2**turn * random.uniform(0.5, 1.0))  # noqa: S311

    @contextlib.contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        """Errors of S3 as ours."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

        try:
            yield
        except ClientError as error:
            raise self._told(error, what) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise aws.unsigned(str(self), error) from error
        except BotoCoreError as error:
            raise Unavailable(
                f"{self} does not answer",
                expected=f"an answer within {_CONNECT + _READ:g} s",
                got=f"{type(error).__name__}: {error}",
                fix="look whether its endpoint is reachable from here, then run it again",
            ) from error

    def _told(self, error: Any, what: str) -> HallmarkError:
        code, said = _code(error), error.response["Error"].get("Message", "")
        if code == "NoSuchBucket":
            return NotFound(
                f"there is no bucket {self._name}",
                expected=f"a bucket, in which {self} is",
                got=code,
                fix="see HALLMARK_FEATURE_OFFLINE: its name and region; Terraform makes it (terraform/foundation)",
            )
        if code in _FORBIDDEN:
            return HallmarkError(
                f"this account may not {what} in {self}",
                expected="the right to it: docs/features.md, The offline store, says who has which",
                got=f"{code}: {said}",
                fix="run it under an account that has it, such as `stream` of the namespace `features`",
            )
        return Unavailable(
            f"{self} does not {what}", expected="S3's yes", got=f"{code}: {said}", fix="run it again after a while"
        )


def _parsed(address: str) -> tuple[str, str, dict[str, str]]:
    try:
        parts = urlsplit(address)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        if not address.startswith(SCHEME):
            raise ValueError(f"no place is called {parts.scheme!r}")
        if parts.fragment or "@" in parts.netloc or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc):
            raise ValueError("a bucket's name after two slashes, and no user")
        prefix = parts.path.strip("/")
        if prefix and not _KEY.fullmatch(prefix):
            raise ValueError(f"{prefix!r} is no prefix of names with / between")
        if wrong := sorted(set(options) - {"region", "endpoint"}) or [name for name in options if not options[name]]:
            raise ValueError(f"{wrong[0]!r} is none of its options, region and endpoint, with a value")
    except ValueError as error:
        raise DeclarationError(
            "this is no address of an offline store", expected=f"a folder, or {FORM}", got=f"{address}: {error}"
        ) from error
    return parts.netloc, f"{prefix}/" if prefix else "", options


def _code(error: Any) -> str:
    return str(error.response["Error"]["Code"])


def _now(answer: Any) -> float:
    """The server's clock, by which it dates its objects."""
    from email.utils import parsedate_to_datetime

    said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(said).timestamp() if said else datetime.now().timestamp()
