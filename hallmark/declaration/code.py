"""A domain's own code, imported from the checkout that is meant: two checkouts in one process never see each other's."""

from __future__ import annotations

import ast
import hashlib
import importlib
import re
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from hallmark import extras
from hallmark.errors import DeclarationError, HallmarkError, Unavailable
from hallmark.features.fields import Field, Output
from hallmark.settings import Settings

PACKAGE = "domains"
_NEEDED = {"features": ("FIELDS", "encode"), "data": ("contract",), "serving": ("OUTPUTS", "answer")}
"""Names without which a part of a domain's code is none."""
_INSTEAD = {"serving": "order"}
"""The name that does alone, without any of these: of what an index finds, and adds no output."""
_MADE = {each.__name__: each for each in (Field, Output)}
_MISTAKE = re.compile(r"(?:field .*?: )?(?:expected|Input should be) (?P<expected>.*?)(?:, got (?P<got>.*))?")
_FIRST: list[Path] = []
"""The checkout whose code is imported as `domains`; any other has a package of its own name."""


def module(name: str, part: str, settings: Settings | None = None) -> ModuleType:
    """A domain's own code: `part` is data, features, model, serving or synthetic; `DeclarationError` with file and line where it stops."""
    settings = settings or Settings.load()
    path = settings.domains / name / f"{part}.py"
    if not path.is_file():
        raise DeclarationError(
            f"domain {name!r} has no {part}.py", expected=f"domains/{name}/{part}.py", got="no such file"
        )
    try:
        found = importlib.import_module(f"{_package(settings.root)}.{name}.{part}")
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", "hallmark") or PACKAGE in library:  # a slip in our own code: its traceback says more
            raise
        extra = extras.bringing(library)
        raise Unavailable(
            f"domains/{name}/{part}.py imports what is not installed",
            expected=f"{library}, of the extra {extra}" if extra else library,
            got=str(error),
            fix="run `make install`, which installs every extra"
            if extra
            else f"name {library} in an extra of pyproject.toml, then run `make install`",
        ) from error
    except HallmarkError:
        raise
    except Exception as error:  # whatever the domain's own code raises while it is read
        raise _stopped(error, path, settings) from error
    needed = _NEEDED.get(part, ())
    missing = [each for each in needed if not hasattr(found, each)]
    if missing and not (len(missing) == len(needed) and hasattr(found, _INSTEAD.get(part, ""))):
        near = get_close_matches(missing[0], vars(found), 1)
        raise DeclarationError(
            f"domains/{name}/{part}.py lacks {missing[0]}",
            expected=" and ".join(needed) + (f", or {_INSTEAD[part]} alone" if part in _INSTEAD else ""),
            got=f"no {', no '.join(missing)}",
            fix=f"did you mean {near[0]}? call it {missing[0]}"
            if near
            else f"write it, as domains/fraud/{part}.py has it",
        )
    return found


def _stopped(error: Exception, path: Path, settings: Settings) -> DeclarationError:
    """What a domain's code raised while it was read, with the place in it."""
    places = [(Path(each.filename), each.lineno or 1) for each in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((Path(error.filename), error.lineno or 1))
    file, line = next((each for each in reversed(places) if each[0].is_relative_to(settings.domains)), (path, 1))
    where = f"{file.relative_to(settings.root)}:{line}"
    if not isinstance(error, ValidationError):
        got = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"
        return DeclarationError(
            f"{where} cannot be read", expected="Python that runs to its end", got=got, fix=f"mend {where}"
        )
    (expected, got), *rest = [_mistake(error.title, item) for item in error.errors()]
    more = "".join(f"\n  also expected {one}, got {other}" for one, other in rest)
    given = next((item["input"] for item in error.errors() if isinstance(item["input"], dict)), {})
    named = f" {given['name']!r}" if "name" in given else ""
    return DeclarationError(
        f"{where}: the {error.title}{named} cannot be made", expected=expected, got=got + more, fix=f"mend {where}"
    )


def _mistake(title: str, item: Any) -> tuple[str, str]:
    """Expected and got of one of pydantic's errors on what a `Field` or `Output` was given."""
    key = ".".join(map(str, item["loc"]))
    if item["type"] == "missing":
        return key, "nothing"
    if item["type"] == "extra_forbidden":
        known = [*_MADE[title].model_fields] if title in _MADE else []
        near = get_close_matches(key, known, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return f"one of {', '.join(known)}" if known else "what it declares", f"{key}{meant}"
    text = item["msg"].removeprefix("Value error, ")
    if (found := _MISTAKE.fullmatch(text)) is None:
        return "what fits together", f"{key}: {text}" if key else text
    got = found["got"] or (repr(item["input"]) if key else "something else")
    return f"{key}: {found['expected']}" if key else found["expected"], got


def _package(root: Path) -> str:
    """Name under which the folder `domains` of this checkout is imported."""
    if not _FIRST:
        _FIRST.append(_known() or root)
        if str(root) not in sys.path and _FIRST[0] == root:
            sys.path.insert(0, str(root))
    if _FIRST[0] == root:
        return PACKAGE
    alias = f"_{PACKAGE}_{hashlib.sha256(str(root).encode()).hexdigest()[:12]}"
    if not any(isinstance(finder, _Finder) and finder.alias == alias for finder in sys.meta_path):
        # Before the usual finder, which would load what lies below the alias as it stands.
        sys.meta_path.insert(0, _Finder(alias, root / PACKAGE))
    return alias


def _known() -> Path | None:
    """The checkout from which `domains` was imported already, such as by a test."""
    there = getattr(sys.modules.get(PACKAGE), "__path__", None)
    return Path(next(iter(there))).resolve().parent if there else None


class _Finder(MetaPathFinder):
    """Finds `alias` and what is below it in a checkout's folder of domains."""

    def __init__(self, alias: str, folder: Path) -> None:
        self.alias = alias
        self._folder = folder

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if name == self.alias:
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(self._folder)]
            return spec
        if not name.startswith(f"{self.alias}."):
            return None
        found = PathFinder.find_spec(name, path, target)
        if found is not None and found.origin is not None and found.origin.endswith(".py"):
            found.loader = _Loader(name, found.origin, alias=self.alias)
        return found


class _Loader(SourceFileLoader):
    """Compiles a module whose imports of `domains` mean its own checkout's; leaves no bytecode, which would not say so."""

    def __init__(self, name: str, path: str, *, alias: str) -> None:
        super().__init__(name, path)
        self._alias = alias

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.get_data(self.path), self.path)

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> Any:  # type: ignore[override]
        tree = ast.parse(data, filename=str(path))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                node.module = self._own(node.module)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.asname:
                        alias.name = self._own(alias.name)
        return compile(tree, str(path), "exec", dont_inherit=True, optimize=_optimize)

    def _own(self, name: str) -> str:
        inside = name == PACKAGE or name.startswith(f"{PACKAGE}.")
        return self._alias + name.removeprefix(PACKAGE) if inside else name
