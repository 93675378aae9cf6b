"""The code that travels in a model folder, run from its bytes and not from the checkout."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType

from hallmark.errors import ModelRefused


def run(source: bytes, name: str) -> ModuleType:
    """The module in `name` (features.py, serving.py), from bytes that were verified; it leaves no bytecode behind."""
    module = ModuleType(f"hallmark_model_{Path(name).stem}_{hashlib.sha256(source).hexdigest()[:16]}")
    sys.modules[module.__name__] = module  # dataclasses and pydantic look their module up there
    try:
        exec(compile(source, f"<model>/{name}", "exec"), module.__dict__)  # noqa: S102  what the model's code is for
    except Exception as error:  # whatever the model's own code raises while it loads
        del sys.modules[module.__name__]
        raise ModelRefused(
            f"the model's {name} cannot be run", expected="a module", got=f"{type(error).__name__}: {error}"
        ) from error
    return module


def load(folder: Path, part: str) -> ModuleType:
    """`features` or `serving` of the model in `folder`; verify the folder first, because this runs what is in it."""
    path = folder / f"{part}.py"
    if not path.is_file():
        raise ModelRefused(f"{path.name} of the model is missing", expected=path.name, got="no such file")
    return run(path.read_bytes(), path.name)
