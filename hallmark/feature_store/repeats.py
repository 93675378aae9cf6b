"""Numbers that come more than once among very many, in little memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HELD = 1 << 22
"""Numbers that are sorted at once, about."""


def repeated(batches: Iterable[Any], count: int, folder: Path) -> Any:
    """Each number that comes more than once, once, as an array of uint64.

    batches: arrays of uint64, evenly spread over all of them as hashes are, about `count` together; more than `HELD` go by their first bits
    through files in `folder`.
    """
    import numpy as np

    bits = (count // HELD).bit_length()
    if not bits:
        return _repeated(np.concatenate([np.empty(0, np.uint64), *batches]))
    bounds = np.arange(1, 1 << bits, dtype=np.uint64) << np.uint64(64 - bits)
    paths = [folder / f"repeats-{number}" for number in range(1 << bits)]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for batch in batches:
            ordered = np.sort(batch)
            for file, part in zip(files, np.split(ordered, np.searchsorted(ordered, bounds)), strict=True):
                file.write(part.tobytes())
    found = [_repeated(np.fromfile(path, np.uint64)) for path in paths]
    for path in paths:
        path.unlink()
    return np.concatenate(found)


def _repeated(numbers: Any) -> Any:
    import numpy as np

    numbers.sort()
    found = numbers[1:][numbers[1:] == numbers[:-1]]
    return found[np.append(True, found[1:] != found[:-1])[: len(found)]]  # np.unique would import numpy.ma, 40 ms
