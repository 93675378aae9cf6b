"""Pictures of references by their ids, each checked before it is shown: of a model folder that has them, or of a folder with `crops.json`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hallmark.artifacts import bundle, references
from hallmark.artifacts.folder import MANIFEST, REFERENCES
from hallmark.errors import HallmarkError, ModelRefused
from hallmark.features import image
from hallmark.prompts.prompt import PICTURES
from hallmark.section import Frozen

INDEX = "crops.json"
DIGEST = "HALLMARK_REFERENCES_DIGEST"
"""Environment of a service: the digest that the model folder of its references must have."""


class Crop(Frozen):
    """A picture in the folder. sha256: of its bytes, in hex."""

    file: str
    sha256: str


_index = TypeAdapter(dict[str, Crop])


class Crops:
    """The pictures of a folder; without one there are none, and nothing can be cited.

    expected: digest of the model folder, which is then what it has to be.
    """

    def __init__(self, folder: Path | None, *, expected: str | None = None) -> None:
        self._find: Callable[[str], bytes | None] = lambda reference: None
        if folder is None:
            return
        if expected or (folder / MANIFEST).is_file():
            if REFERENCES not in bundle.read(folder, expected=expected, keep=frozenset()).digests:
                raise ModelRefused("the model has no references", expected=REFERENCES, got="no such file")
            self._find = references.PictureFile(folder / REFERENCES).get
        else:
            self._find = _Files(folder).get

    def get(self, reference: str) -> bytes | None:
        """The picture of a reference; None where there is none, or where it is not one that may be shown."""
        data = self._find(reference)
        try:
            if data is not None:
                image.header(data, limits=PICTURES)
        except HallmarkError:
            return None
        return data


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
