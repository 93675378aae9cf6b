"""Pictures of references, by their ids: a sealed folder with `crops.json`, each checked before it is shown."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hallmark.errors import HallmarkError, ModelRefused
from hallmark.features import image
from hallmark.prompts.prompt import PICTURES
from hallmark.section import Frozen

INDEX = "crops.json"


class Crop(Frozen):
    """A picture in the folder. sha256: of its bytes, in hex."""

    file: str
    sha256: str


_index = TypeAdapter(dict[str, Crop])


class Crops:
    """The pictures of a folder; without one there are none, and nothing can be cited."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._crops: dict[str, Crop] = {}
        if folder is None:
            return
        try:
            self._crops = _index.validate_json((folder / INDEX).read_bytes())
        except (OSError, ValidationError) as error:
            raise ModelRefused(
                f"{INDEX} of the references cannot be read",
                expected="ids, each with file and sha256",
                got=str(error).splitlines()[0],
            ) from error
        for name, each in self._crops.items():
            if Path(each.file).name != each.file or each.file.startswith("."):
                raise ModelRefused(
                    f"the picture of reference {name} is no plain file beside {INDEX}", got=each.file[:80]
                )

    def get(self, reference: str) -> bytes | None:
        """The picture of a reference; None where there is none, or where it is not the one that the index names."""
        found = self._crops.get(reference)
        if found is None or self._folder is None:
            return None
        try:
            data = (self._folder / found.file).read_bytes()
            image.header(data, limits=PICTURES)
        except (OSError, HallmarkError):
            return None
        return data if hashlib.sha256(data).hexdigest() == found.sha256 else None
