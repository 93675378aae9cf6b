"""The code that travels in a model folder, loaded from there and not from the checkout."""

from __future__ import annotations

import hashlib
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

from hallmark.errors import ModelRefused


class _FromSource(SourceFileLoader):
    """Compiles the source that the digest covers: reads no bytecode that lies beside it, and leaves none there."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load(folder: Path, part: str) -> ModuleType:
    """`features` or `serving` of the model in `folder`; verify the folder first, because this runs what is in it."""
    path = folder / f"{part}.py"
    if not path.is_file():
        raise ModelRefused(f"{path.name} of the model is missing", expected=path.name, came="no such file")
    name = f"hallmark_model_{part}_{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    spec = spec_from_file_location(name, path, loader=_FromSource(name, str(path)))
    if spec is None or spec.loader is None:
        raise ModelRefused(f"{path.name} of the model cannot be loaded", expected="Python source", came=str(path))
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up there
    spec.loader.exec_module(module)
    return module
