"""What a person is to see of an item: its photos, and pictures of the references that were found for it, in the folder that the page reads."""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from hallmark.decision.engine import Answer
from hallmark.declaration.decision import Decision
from hallmark.errors import HallmarkError
from hallmark.features import image
from inference_services.crops import Crops
from inference_services.decision.messages import ItemRequest
from inference_services.protocol import plain

_log = logging.getLogger(__name__)


class Pictures:
    """Keeps pictures of cases by the digest of their bytes: the folder of `hallmark reviews page --photos`.

    crops: those of references, the same that the reviewer is shown.
    """

    def __init__(self, folder: Path, crops: Crops) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._crops = folder, crops

    def photos(self, request: ItemRequest, decision: Decision) -> tuple[str, ...]:
        """Digests of the item's photos, each kept: whatever else than its fields it came with, where that is photos."""
        found = []
        for name, (tensor, blob) in request.tensors.items():
            if name in decision.item or tensor.datatype != "BYTES":
                continue
            try:
                files = plain.files(tensor, blob)
                for each in files:
                    image.header(each)
            except (ValueError, HallmarkError):
                continue  # a text, or what no node could read either
            found += [self._kept(each) for each in files]
        return tuple(filter(None, found))

    def references(self, answers: Mapping[str, Answer], decision: Decision) -> dict[str, str]:
        """Digests of pictures of the references that nodes named, by id, each kept: of texts that are the id of one that has a picture."""
        shown = ((name, self._crops.get(name)) for name in dict.fromkeys(_texts(answers, decision)))
        kept = {name: self._kept(data) for name, data in shown if data is not None}
        return {name: digest for name, digest in kept.items() if digest}

    def _kept(self, data: bytes) -> str:
        """The digest of a picture that is kept; empty where the disk takes it not: the case is opened all the same."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._folder / digest
        draft = path.with_name(f".{digest}.{uuid.uuid4().hex}")
        try:
            try:
                os.utime(path)  # it is used again: `hallmark reviews gc` leaves it alone until the case is filed
            except FileNotFoundError:
                draft.write_bytes(data)
                draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            _log.warning("a picture of a case was not kept: %s", error.strerror or error)
            return ""
        return f"sha256:{digest}"


def _texts(answers: Mapping[str, Answer], decision: Decision) -> Iterator[str]:
    """Texts in lists that nodes answered, in the order in which they were asked."""
    for name, each in answers.items():
        if each.fate == "answered":
            for output, kind in decision.nodes[name].outputs.items():
                found = each.outputs[output]
                if kind == "texts" and isinstance(found, tuple):
                    yield from found
