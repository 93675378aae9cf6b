"""MLmodel beside a model's card, and the code that it needs: MLflow loads the version, also where Hallmark is not installed.

MLmodel             signature, digest, and hallmark.batch.pyfunc as the loader
hallmark.zip        Hallmark's own modules that the loader and the model's features.py and serving.py import
requirements.txt, python_env.yaml   the libraries they import, as they are installed here

None of them is a part of the digest: the same model stays the same version when Hallmark's own code changes.
"""

from __future__ import annotations

import ast
import functools
import platform
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hallmark
from hallmark import libraries
from hallmark.artifacts.folder import CODE, MLMODEL, PYTHON_ENV, REQUIREMENTS

if TYPE_CHECKING:
    from hallmark.artifacts.signature import Signature
    from hallmark.features.fields import Field, Output

LOADER = "hallmark.batch.pyfunc"
_ROOTS = (LOADER, "hallmark.learners.onnx_model")  # which the scorer imports when it is made
_LIBRARIES = ("mlflow", "numpy", "pandas", "pyarrow", "onnxruntime", "pydantic", "pyyaml")
_DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn"}
_HERE = Path(str(hallmark.__file__)).parents[1]
_TYPES = {"BOOL": "boolean", "INT32": "long", "INT64": "long", "FP32": "double", "FP64": "double", "BYTES": "string"}


def write(folder: Path, *, digest: str, model_id: str, run: str) -> None:
    """Have MLmodel and what it names in the sealed `folder`; nothing where that has no signature to tell MLflow of."""
    import yaml

    from hallmark.artifacts.signature import (
        Signature,
    )  # and all that it is made of: whoever only lists versions needs none of it

    with libraries.unwarned("mlflow"):
        from mlflow.models import Model

    if not (folder / "signature.json").is_file():
        return
    signature = Signature.model_validate_json((folder / "signature.json").read_bytes())
    own = [path.read_bytes() for name in ("features.py", "serving.py") if (path := folder / name).is_file()]
    modules, imported = closure(own)
    with zipfile.ZipFile(folder / CODE, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in modules:
            archive.writestr(zipfile.ZipInfo(path.relative_to(_HERE).as_posix()), path.read_bytes())
    pinned = _pinned(imported)
    (folder / REQUIREMENTS).write_text("".join(f"{line}\n" for line in pinned), encoding="utf-8")
    environment = {"python": platform.python_version(), "dependencies": [f"-r {REQUIREMENTS}"]}
    (folder / PYTHON_ENV).write_text(yaml.safe_dump(environment, sort_keys=False), encoding="utf-8")
    model = Model(
        artifact_path=None,
        run_id=run,
        model_id=model_id,
        metadata={"digest": digest, "domain": signature.domain, "hallmark": hallmark.__version__},
        signature=_signature(folder, signature) if signature.retriever is None else None,
    )
    model.add_flavor(
        "python_function",
        loader_module=LOADER,
        code=CODE,
        env={"virtualenv": PYTHON_ENV},
        python_version=platform.python_version(),
    )
    model.save(str(folder / MLMODEL))


def closure(sources: Iterable[bytes]) -> tuple[list[Path], list[str]]:
    """Files of Hallmark's modules that the loader and `sources` import, and the top-level names of other libraries in them."""
    waiting, others, seen = list(_ROOTS), set[str](), dict[str, Path]()
    for source in sources:
        for name in _imports(source, inside=True):
            (waiting.append if name.partition(".")[0] == "hallmark" else others.add)(name)
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name in seen or path is None:
            continue
        seen[name] = path
        above = name.rpartition(".")[0]
        waiting += [above] if above else []
        for found in _of_file(path, name.startswith("hallmark.features")):
            (waiting.append if found.partition(".")[0] == "hallmark" else others.add)(found)
    tops = {name.partition(".")[0] for name in others}
    return sorted(seen.values()), sorted(tops - set(sys.stdlib_module_names))


def _file(name: str) -> Path | None:
    base = _HERE.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@functools.cache
def _of_file(path: Path, inside: bool) -> tuple[str, ...]:
    return tuple(_imports(path.read_bytes(), inside=inside))


def _imports(source: bytes, *, inside: bool) -> Iterator[str]:
    """Modules that code imports, and names that may be modules; those of functions too where `inside`, never for types alone."""
    waiting: list[ast.AST] = list(ast.parse(source).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            if node.module.partition(".")[0] == "hallmark":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        elif inside or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _pinned(imported: Iterable[str]) -> list[str]:
    """Requirements, each at the version that is installed here."""
    names = {*_LIBRARIES, *(_DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in imported)}
    return [f"{name}=={version}" for name in sorted(names) if (version := libraries.version(name))]


def _signature(folder: Path, signature: Signature) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Schema

    from hallmark.features import code

    added = code.load(folder, "serving").OUTPUTS if (folder / "serving.py").is_file() else ()
    outputs = {output.name: output for output in (*signature.outputs, *added)}
    return ModelSignature(
        inputs=Schema([_column(field) for field in signature.fields]),
        outputs=Schema([_answer(output) for output in outputs.values()]),
    )


def _column(field: Field) -> Any:
    """The column of a field as MLflow checks it: never stricter than the model, whose own check follows.

    MLflow takes no whole numbers that may be missing, and no lists of numbers as narrow as the field's.
    """
    from mlflow.types.schema import AnyType, ColSpec

    loose = field.shape or (field.optional and field.datatype in ("INT32", "INT64", "BOOL"))
    kind = "binary" if field.media == "image" else _TYPES[field.datatype]
    return ColSpec(type=AnyType() if loose else kind, name=field.name, required=not field.optional)


def _answer(output: Output) -> Any:
    from mlflow.types.schema import Array, ColSpec, DataType

    kinds = {**_TYPES, "FP32": "float", "INT32": "integer"}
    kind: Any = DataType[kinds[output.datatype]]
    for _ in output.shape:
        kind = Array(kind)
    return ColSpec(type=kind, name=output.name)
