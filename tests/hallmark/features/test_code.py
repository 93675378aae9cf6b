"""The model's own code, run from its bytes."""

from __future__ import annotations

import sys

import pytest

from hallmark.errors import ModelRefused
from hallmark.features import code


def test_a_module_may_declare_dataclasses_and_leaves_no_bytecode() -> None:
    source = b"from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n@dataclass\nclass A:\n    b: int = 3\n"
    module = code.run(source, "features.py")
    assert module.A().b == 3
    assert code.run(source, "features.py").__name__ == module.__name__ in sys.modules
    assert not hasattr(module, "__cached__")


def test_code_that_cannot_be_run_is_refused_and_forgotten() -> None:
    before = set(sys.modules)
    with pytest.raises(ModelRefused, match=r"features\.py cannot be run.*"):
        code.run(b"1 / 0", "features.py")
    assert not {name for name in set(sys.modules) - before if name.startswith("hallmark_model")}
