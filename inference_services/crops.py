"""Pictures of references by their ids, each checked before it is shown: of a model folder that has them, or of a folder with `crops.json`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hallmark.artifacts import bundle, references
from hallmark.artifacts.folder import MANIFEST, REFERENCES
from hallmark.errors import HallmarkError, ModelRefused
from hallmark.features import image
from hallmark.prompts.prompt import PICTURES
from hallmark.section import Frozen
from inference_services.process import expected_digests

INDEX = "crops.json"
DIGEST = "HALLMARK_REFERENCES_DIGEST"
"""Environment of a service: the digests that the model folders of its references must have, with commas between."""


class Crop(Frozen):
    """A picture in the folder. sha256: of its bytes, in hex."""

    file: str
    sha256: str


_index = TypeAdapter(dict[str, Crop])


class Crops:
    """The pictures of folders, of each reference the first that is found; without a folder there are none, and nothing can be cited.

    Of several model folders one may have no references, such as that of a version from before there were any.

    expected: digests of the model folders, one each in their order, which is then what they have to be; none: any are taken.
    """

    def __init__(self, *folders: Path, expected: Sequence[str | None] = ()) -> None:
        found = [_finder(each, digest) for each, digest in zip(folders, expected or [None] * len(folders), strict=True)]
        self._finds = [each for each in found if each is not None]
        if folders and not self._finds:
            raise ModelRefused("the model has no references", expected=REFERENCES, got="no such file")

    @classmethod
    def of(cls, folders: Sequence[Path], environment: Mapping[str, str]) -> Crops:
        """Those of a process, by its environment."""
        return cls(*folders, expected=expected_digests(DIGEST, environment, folders, flag="--crops"))

    def get(self, reference: str) -> bytes | None:
        """The picture of a reference; None where there is none, or where it is not one that may be shown."""
        for find in self._finds:
            if (data := find(reference)) is not None and _shows(data):
                return data
        return None


def _finder(folder: Path, expected: str | None) -> Callable[[str], bytes | None] | None:
    """What finds pictures in a folder; None in a model folder that has none."""
    if not expected and not (folder / MANIFEST).is_file():
        return _Files(folder).get
    if REFERENCES not in bundle.read(folder, expected=expected, keep=frozenset()).digests:
        return None
    return references.PictureFile(folder / REFERENCES).get


def _shows(data: bytes) -> bool:
    """Is it a picture that may be shown?"""
    try:
        image.header(data, limits=PICTURES)
    except HallmarkError:
        return False
    return True


class _Files:
    """Pictures that lie in a folder one by one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._crops = _index.validate_json((folder / INDEX).read_bytes())
        except (OSError, ValidationError) as error:
            raise ModelRefused(
                f"{INDEX} of the references cannot be read",
                expected=f"ids, each with file and sha256; or a model folder with {REFERENCES}",
                got=str(error).splitlines()[0],
            ) from error
        for name, each in self._crops.items():
            if Path(each.file).name != each.file or each.file.startswith("."):
                raise ModelRefused(
                    f"the picture of reference {name} is no plain file beside {INDEX}", got=each.file[:80]
                )

    def get(self, reference: str) -> bytes | None:
        """The picture; None where it is not the one that the index names."""
        found = self._crops.get(reference)
        if found is None:
            return None
        try:
            data = (self._folder / found.file).read_bytes()
        except OSError:
            return None
        return data if hashlib.sha256(data).hexdigest() == found.sha256 else None
