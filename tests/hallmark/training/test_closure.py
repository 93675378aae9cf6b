"""Keys of steps: each line that a step can run or read changes its key, and no other line does."""

from __future__ import annotations

import ast
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError
from hallmark.section import Section
from hallmark.settings import Settings
from hallmark.training import declared, libraries, step, steps
from hallmark.training.closure import Closure, Finder
from hallmark.training.step import Step
from tests.domains.search.small import AT, Small

ROOT = Path(__file__).parents[3]
KEPT = [each for each in step.of(vars(steps)) if each.kept and each.name not in (*steps.INDEXED, *steps.DECIDED)]
"""Those of a domain that does not answer with items and declares no decision."""
NAMES = {each.name for each in KEPT}
AS_OF = "2026-11-01T00:00:00+00:00"
FUNCTION = 0x1  # CO_OPTIMIZED: a function's own code, and not a module's or a class's body


class Tree:
    """A checkout of its own, with the library, a small domain and a real one."""

    def __init__(self, root: Path) -> None:
        self.root, self.kept = root, root.with_name("kept")
        self.settings = Settings.load({"HALLMARK_ROOT": str(root), "HALLMARK_STATE": str(root / "state")})

    def finder(self, domain: str = "toy") -> Finder:
        """A finder that knows what an earlier one read, as a run's does."""
        return Finder(domain, self.settings, library=self.root, kept=self.kept)

    def closures(self, domain: str = "toy") -> dict[str, Closure]:
        finder = self.finder(domain)
        return {each.name: each.closure(domain, self.settings, finder=finder) for each in KEPT}

    def keys(self, domain: str = "toy") -> dict[str, str]:
        said = domains.load(domain, self.settings)
        return {name: closure.digest(said) for name, closure in self.closures(domain).items()}

    def changed(
        self, path: Path | str, change: Callable[[str], str], *, before: dict[str, str] | None = None
    ) -> set[str]:
        """The steps whose keys change with a file; it is put back. before: the keys, where they are known."""
        before, file = before or self.keys(), self.root / path
        text = file.read_text()
        file.write_text(change(text))
        try:
            after = self.keys()
        finally:
            file.write_text(text)
        return {name for name in before if before[name] != after[name]}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    root = tmp_path_factory.mktemp("tree") / "root"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("hallmark", "components", "pipelines"):
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    shutil.copytree(ROOT / "tests" / "toy", root, ignore=ignored, dirs_exist_ok=True)
    shutil.copytree(ROOT / "domains" / "fraud", root / "domains" / "fraud", ignore=ignored)
    return Tree(root)


@pytest.mark.slow
def test_a_line_more_in_any_file_that_a_step_imports_changes_its_key_and_no_other_steps(tree: Tree) -> None:
    closures, finder, before = tree.closures(), tree.finder(), tree.keys()
    files = {name: finder.path(name) for closure in closures.values() for name in closure.counted}
    assert len(files) > 40
    for name, path in files.items():
        assert path is not None
        importing = {each for each, closure in closures.items() if name in closure.counted}
        assert tree.changed(path, lambda text: text + "\n_ADDED = 1\n", before=before) == importing, name


def _copying(name: str) -> set[str]:
    """The steps that copy this file as it is."""
    return {"export"} if name == "domains.toy.features" else set()


@pytest.mark.slow
def test_a_change_in_a_function_changes_the_keys_of_the_steps_that_can_call_it_alone(tree: Tree) -> None:
    closures, finder, before = tree.closures(), tree.finder(), tree.keys()
    names = sorted({name for closure in closures.values() for name in closure.counted})
    definitions = [
        (name, index, statement)
        for name in names
        for index, statement in enumerate(_module(finder, name).statements)
        if statement.kind == "definition"
    ]
    called = {
        (name, index) for closure in closures.values() for name in closure.counted for index in closure.counted[name]
    }
    some, none = (
        random.Random(7).sample([each for each in definitions if (each[:2] in called) is reached], 30)
        for reached in (True, False)
    )
    for name, index, statement in some + none:
        path = finder.path(name)
        assert path is not None

        def change(text: str, last: int = statement.last) -> str:
            lines = text.splitlines(keepends=True)
            return "".join([*lines[: last - 1], lines[last - 1].rstrip("\n") + "  # changed\n", *lines[last:]])

        calling = {each for each, closure in closures.items() if index in closure.counted.get(name, ())}
        assert tree.changed(path, change, before=before) == calling | _copying(name), (name, statement.names)


def _module(finder: Finder, name: str) -> Any:
    found = finder.module(name)
    assert found is not None
    return found


@pytest.mark.slow
def test_what_no_step_runs_changes_no_key(tree: Tree) -> None:
    before, finder = tree.keys(), tree.finder()
    counted = {finder.path(name) for closure in tree.closures().values() for name in closure.counted}
    apart = [path for name in ("hallmark", "components", "pipelines") for path in (tree.root / name).rglob("*.py")]
    apart = [path for path in apart if path not in counted]
    packages = {path.relative_to(tree.root).parts[1] for path in apart}
    assert {"cli", "render", "rollout", "lint", "tco", "leash.py", "remote.py"} <= packages
    apart += [tree.root / "domains" / name / "model.py" for name in ("fraud", "shapes")]
    texts = {path: path.read_text() for path in apart}
    assert {"kubeflow.py", "run.py", "cached_run.py", "schedule.py"} <= {path.name for path in apart}
    for path, text in texts.items():
        path.write_text(f"import torch\n{text}\n_ADDED = 1\n" if "__future__" not in text else f"{text}\n_ADDED = 1\n")
    try:
        assert tree.keys() == before
    finally:
        for path, text in texts.items():
            path.write_text(text)


def test_loading_does_not_hang_on_the_registry_and_validating_not_on_how_models_are_judged(tree: Tree) -> None:
    closures = tree.closures()
    for name in NAMES:
        assert "hallmark.registry.store" not in closures[name].counted, name
        assert "mlflow" not in closures[name].imports, name
    called = {
        name: {
            f"{module}.{statement.names[0]}"
            for module, statement in closure.statements()
            if statement.kind == "definition"
        }
        for name, closure in closures.items()
    }
    assert "hallmark.training.evaluate.evaluate" in called["evaluate"] & called["compare"] & called["quantize"]
    assert not {
        name for name in called["validate"] if name.startswith(("hallmark.training.evaluate", "hallmark.training.gate"))
    }
    assert "torch" not in closures["load"].imports | closures["validate"].imports | closures["gate"].imports


def test_a_new_file_joins_the_keys_of_all_that_import_it(tree: Tree) -> None:
    new, fields = tree.root / "hallmark/features/store.py", tree.root / "hallmark/features/fields.py"
    text = fields.read_text()
    importing = {name for name, closure in tree.closures().items() if "hallmark.features.fields" in closure.counted}
    assert len(importing) >= 5
    new.write_text('"""Values kept."""\n\nSIZE = 1\n')
    try:
        fields.write_text(text + "\nfrom hallmark.features import store\n")
        assert tree.changed(new, lambda text: text.replace("1", "2")) == importing
        fields.write_text(text)
        assert tree.changed(new, lambda text: text.replace("1", "2")) == set()
    finally:
        fields.write_text(text)
        new.unlink()


@pytest.mark.slow
def test_a_domains_code_and_declaration_count_for_the_steps_that_ask_for_them(tree: Tree) -> None:
    def changed(path: str, old: str, new: str) -> set[str]:
        assert old in (tree.root / "domains/toy" / path).read_text()
        return tree.changed(f"domains/toy/{path}", lambda text: text.replace(old, new))

    assert changed("model.py", "range(10)", "range(11)") == {"train"}
    assert changed("model.py", '"""From safetensors."""', '"""Read."""') == {"quantize", "evaluate", "export"}
    asked = changed("model.py", "minimum=0, maximum=1", "minimum=0, maximum=2")  # of what SPEC always says
    assert asked == {"train", "quantize", "evaluate", "compare", "export"}
    assert changed("data.py", "100 points", "200 points") == {"load", "export"}  # last year's weeks
    by_contract = changed("data.py", "in_range(-100, 100)", "in_range(-9, 9)")
    assert by_contract == {"load", "validate", "export"}, "own rows keep it before features are looked up for them"
    assert changed("features.py", '"""A domain', '"""The domain') >= {
        "export"
    }  # copied with the model, comments and all
    assert changed("domain.yaml", "floor: 0.5", "floor: 0.6") == {"quantize", "compare"}
    assert changed("domain.yaml", "metric: average_precision", "metric: roc_auc") >= {"evaluate", "compare"}
    assert changed("domain.yaml", 'cpu: "1"', 'cpu: "2"') == set()
    assert changed("domain.yaml", "timeout: 5m", "timeout: 6m") == set()
    assert changed("domain.yaml", "latency_objective: 50ms", "latency_objective: 50ms, precision: int8") == {"quantize"}
    assert changed("domain.yaml", "label_delay: 1d", "label_delay: 2d") >= {"load", "split"}


@pytest.mark.slow
def test_another_version_of_a_library_changes_the_keys_of_what_imports_it_or_needs_it(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def released(name: str) -> set[str]:
        before = tree.keys()
        place = tmp_path / name / f"{name}-99.0.dist-info"
        place.mkdir(parents=True)
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [str(place.parent), *sys.path])
            after = tree.keys()
        return {each for each in before if before[each] != after[each]}

    assert released("numpy") == NAMES
    assert released("onnx") == {"train", "quantize", "evaluate", "export"}
    assert released("pandera") == {"load", "validate", "export"}
    assert released("python-dateutil") >= {"load", "evaluate"}  # pandas requires it
    assert released("mlflow") == released("typer") == released("nobody-needs-it") == set()


def test_a_distribution_that_is_half_removed_is_as_good_as_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = libraries.installed()
    for name in ("numpy-99.0.dist-info", "nobody-1.0.dist-info"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "top_level.txt").write_text("numpy\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert libraries.installed().behind({"numpy", "pandas"}) == known.behind({"numpy", "pandas"})


def test_nothing_that_a_step_runs_is_imported_by_a_name_that_only_running_tells(tree: Tree) -> None:
    unseen = {
        (module, statement.names[0])
        for domain in ("toy", "fraud")
        for closure in tree.closures(domain).values()
        for module, statement in closure.statements()
        for reference in statement.references
        if ".".join(filter(None, (reference.module, *reference.chain)))
        in {"importlib.import_module", "__import__", "exec", "eval", "globals", "vars"}
    }
    # A domain's own module is found by its part, and a model's code is part of the model, which is an input.
    assert unseen == {(domains.module.__module__, "module"), ("hallmark.features.code", "run")}


class Seen:
    """The functions and the keys of the declaration that a step made use of."""

    def __init__(self) -> None:
        self.functions: set[tuple[str, int, str]] = set()
        self.keys: set[str] = set()


@pytest.fixture(scope="module")
def seen(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Seen]]:
    """What every step of a small domain really runs and reads, as plain functions."""
    found = {each.name: Seen() for each in KEPT}
    out = tmp_path_factory.mktemp("out")
    said = domains.load("toy", tree.settings)
    sections = {type(value): name for name, value in said if isinstance(value, Section)}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HALLMARK_RELEASES", "MLFLOW_TRACKING_URI", "HALLMARK_RUN"):
            patch.delenv(name, raising=False)
        for name, value in {"HALLMARK_ROOT": tree.root, "HALLMARK_STATE": tree.root / "state"}.items():
            patch.setenv(name, str(value))
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(domains, "load", lambda name, settings=None: said)
        for each in KEPT:
            _watch(each, found[each.name], sections, patch)
        _through(out)
    yield found
    for name in [name for name in sys.modules if name.startswith("domains.toy")]:
        del sys.modules[name]


def _watch(each: Step[..., Any], seen: Seen, sections: dict[type[Section], str], patch: pytest.MonkeyPatch) -> None:
    function = each.function

    def profile(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_flags & FUNCTION:
            seen.functions.add((code.co_filename, code.co_firstlineno, code.co_name))

    def read(self: Section, name: str) -> Any:
        section = sections.get(type(self))
        if name.startswith("model_dump") and (section or type(self).__module__.startswith("hallmark.declaration.")):
            seen.keys.add(section or type(self).__name__)
        elif name in type(self).model_fields and (section or isinstance(self, Domain)):
            seen.keys.add(f"{section}.{name}" if section else name)
        return object.__getattribute__(self, name)

    def watched(*args: Any, **kwargs: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Section, "__getattribute__", read, raising=False)
            sys.setprofile(profile)
            try:
                return function(*args, **kwargs)
            finally:
                sys.setprofile(None)

    patch.setattr(each, "function", watched)


def _through(out: Path) -> None:
    """Every step, each output at `out` under its own name."""
    steps.load("toy", source="synthetic", as_of=AS_OF, window="10d", seed=7, shift="", examples=out / "examples")
    steps.validate("toy", examples=out / "examples", facts=out / "facts", summary=out / "summary")
    parts = {name: out / name for name in ("training", "validation", "test", "seen")}
    steps.split("toy", as_of=AS_OF, seed=7, examples=out / "examples", **parts)
    data = {name: parts[name] for name in ("training", "validation")}
    steps.train("toy", seed=7, options={}, **data, trained=out / "t", history=out / "history")
    given = {"trained": out / "t", "test": parts["test"]}
    steps.quantize(
        "toy",
        seed=7,
        **given,
        training=parts["training"],
        candidate=out / "c",
        precision=out / "precision",
        summary=out / "s",
    )
    steps.evaluate(
        "toy", **given, evaluation=out / "evaluation", scores=out / "scores", plots=out / "plots", slices=out / "slices"
    )
    paths = {
        "evaluation": out / "evaluation",
        "scores": out / "scores",
        "test": parts["test"],
        "decision": out / "decision",
    }
    steps.export("toy", **given, model=out / "model", parity=out / "parity")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps.compare, "prepare", lambda domain: {"champion": out / "model", "champion_version": 1})
        steps.compare("toy", **paths, summary=out / "why")
    assert steps.gate("toy", decision=out / "decision") is True


def test_every_function_that_a_step_really_runs_is_in_its_closure(tree: Tree, seen: dict[str, Seen]) -> None:
    finder = Finder("toy", tree.settings)  # the library that runs
    for each in KEPT:
        closure = each.closure("toy", tree.settings, finder=finder)
        assert not _missed(seen[each.name], closure, finder, (f"{ROOT}/hallmark", f"{tree.root}/")), each.name


def _missed(seen: Seen, closure: Closure, finder: Finder, ours: tuple[str, ...]) -> set[tuple[str, int, str]]:
    """Functions of files that begin so, by file, line and name, that ran and are not in a closure."""
    lines: dict[str, list[tuple[int, int]]] = {}
    for name, statement in closure.statements():
        lines.setdefault(str(finder.path(name)), []).append((statement.first, statement.last))
    ran = {it for it in seen.functions if it[0].startswith(ours)}
    assert ran
    return {(f, n, name) for f, n, name in ran if not any(a <= n <= b for a, b in lines.get(f, ()))}


def _unread(seen: Seen, closure: Closure, said: Domain) -> set[str]:
    """Keys of a declaration that were read and are not among a closure's."""
    sections = {name for name, value in said if isinstance(value, Section)}
    found = closure.declared
    return {key for key in seen.keys - sections if not {key, key.partition(".")[0]} & found}


def test_every_key_of_the_declaration_that_a_step_really_reads_is_among_those_found(
    tree: Tree, seen: dict[str, Seen]
) -> None:
    for each in KEPT:
        closure = each.closure("toy", tree.settings)
        assert not _unread(seen[each.name], closure, domains.load("toy", tree.settings)), each.name
    assert "gate.floor" in seen["compare"].keys and "data.label" in seen["train"].keys


def test_every_function_and_key_that_the_steps_of_an_index_really_use_is_in_their_closures(
    small_search: Small, tmp_path: Path
) -> None:
    """Items, vectors, index and recall of the real domain, small: as above, in this checkout."""
    made = small_search.folder.parent
    indexed = [each for each in step.of(vars(steps)) if each.name in steps.INDEXED]
    assert {each.name for each in indexed} == set(steps.INDEXED) and all(each.kept for each in indexed)
    found = {each.name: Seen() for each in indexed}
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path / "state")})
    said = domains.load("search", settings)
    sections = {type(value): name for name, value in said if isinstance(value, Section)}
    synthetic = domains.module("search", "synthetic", settings)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.environment().items():
            patch.setenv(name, value)
        patch.setattr(domains, "load", lambda name, settings=None: said)
        patch.setattr(synthetic.corpus, "__kwdefaults__", {"listed": 90})
        for each in indexed:
            _watch(each, found[each.name], sections, patch)
        out = {name: tmp_path / name for name in ("vectors", "index")}
        given = {"source": "synthetic", "as_of": AT.isoformat(), "seed": 7, "shift": ""}
        steps.load_corpus("search", **given, corpus=tmp_path / "corpus", summary=tmp_path / "s")
        corpus = {"corpus": made / "corpus"}
        steps.embed("search", trained=made / "trained", test=made / "test", **corpus, vectors=out["vectors"])
        steps.build_index("search", **corpus, **out)
        steps.measure_recall("search", **corpus, **out, recall=tmp_path / "recall", summary=tmp_path / "s")
    finder = Finder("search", settings)
    for each in indexed:
        closure = each.closure("search", settings, finder=finder)
        missed = _missed(
            found[each.name], closure, finder, (f"{ROOT}/hallmark", f"{ROOT}/domains", f"{ROOT}/synthetic")
        )
        assert not missed, each.name
        assert not _unread(found[each.name], closure, said), each.name
    assert "retrieval.candidates" in found["embed"].keys and "retrieval.corpus" in found["load_corpus"].keys


@pytest.mark.slow
def test_the_keys_of_a_second_run_read_no_source_again(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsing is nearly all that keys take; a second process finds what the first one kept."""
    parsed: list[object] = []
    parse = ast.parse

    def counted(source: bytes | str, *rest: Any, **options: Any) -> Any:
        parsed.append(source)
        return parse(source, *rest, **options)

    monkeypatch.setattr(ast, "parse", counted)

    def found() -> list[str]:
        parsed.clear()
        finder = Finder("fraud", tree.settings, kept=tmp_path)
        return [each.code("fraud", tree.settings, finder=finder) for each in KEPT]

    first, many = found(), len(parsed)
    assert many > 20
    assert found() == first
    assert not parsed


def test_what_was_read_of_a_file_is_found_again_by_its_content_and_read_anew_where_it_is_damaged(
    tree: Tree, tmp_path: Path
) -> None:
    from hallmark.training import statements

    source = (tree.root / "hallmark/files.py").read_bytes()
    plain = statements.read(source, "hallmark.files")
    for _ in range(2):
        assert statements.read(source, "hallmark.files", kept=tmp_path) == plain
        statements.read.cache_clear()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    assert statements.read(source, "hallmark.files", kept=tmp_path) == plain


def test_a_file_that_is_not_python_is_named(tree: Tree) -> None:
    with pytest.raises(DeclarationError, match=r"model\.py is not Python") as caught:
        tree.changed("domains/toy/model.py", lambda text: text + "def (\n")
    assert "invalid syntax" in caught.value.got


PLACES = {"init": "__init__.py", "deep": "deep/__init__.py", "d": "deep/d.py", "e": "deep/e.py"}


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., set[str]]:
    """What `start` in main.py reaches, of the files that are given as texts."""

    def reached(**files: str) -> set[str]:
        (tmp_path / "domains").mkdir(exist_ok=True)
        for name, text in files.items():
            path = tmp_path / "pack" / PLACES.get(name, f"{name}.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        settings = Settings.load({"HALLMARK_ROOT": str(tmp_path)})
        closure = Finder("none", settings).reach("pack.main", "start")
        names = {f"{module}.{'/'.join(statement.names)}" for module, statement in closure.statements()}
        return {name.removeprefix("pack.") for name in names} | {f"library {name}" for name in closure.imports}

    return reached


def test_only_what_a_function_names_is_followed(pack: Callable[..., set[str]]) -> None:
    main = (
        "import numpy\nfrom pack import a\n\n"
        "def start(b):\n    def a():\n        return [c for c in b]\n    return a() + a2()\n\n"
        "def a2():\n    return a.one()\n\n"
        "def b(): ...\ndef c(): ...\ndef unused():\n    import torch\n"
    )
    a = "def one():\n    return two(1)\n\ndef two(one): ...\ndef three(): ...\nif True:\n    FOUR = three\n"
    found = pack(main=main, a=a)
    assert found == {
        "main.numpy", "main.a", "main.start", "main.a2", "a.one", "a.two", "a.three", "a.FOUR", "library numpy"
    }  # fmt: skip


def test_imports_are_followed_by_whatever_name_and_from_wherever(pack: Callable[..., set[str]]) -> None:
    main = (
        "import pack.deep.e as whole\nfrom pack import *\nfrom pack.deep import inner as other\nfrom . import b\n\n"
        "def start():\n    import pack.deep.d\n    from .c import seen as shown\n"
        "    return shown(), starred(), pack.deep.d.far(), other(), b.near(), getattr(whole, start)\n"
    )
    found = pack(
        main=main,
        init="from pack.a import starred\nfrom pack.a import unused\n",
        a="def starred(): ...\ndef unused(): ...\n",
        b="def near(): ...\ndef other(): ...\n",
        c="def seen(): ...\ndef other(): ...\n",
        deep="from pack.deep.d import inside as inner\n",
        d="def far(): ...\ndef inside(): ...\ndef other(): ...\n",
        e="def x(): ...\ndef y(): ...\n",
    )
    assert {"a.starred", "b.near", "c.seen", "deep.d.far", "deep.d.inside", "deep.e.x", "deep.e.y"} <= found
    assert not {"b.other", "c.other", "deep.d.other"} & found
    found = pack(main=main.replace("getattr(whole, start)", "getattr(whole, 'x', None)"))
    assert "deep.e.x" in found and "deep.e.y" not in found


def test_what_a_spec_is_given_counts_once_an_attribute_of_that_name_is_read(tree: Tree) -> None:
    finder = tree.finder()

    def reached(step: str) -> set[str]:
        closure = next(each for each in KEPT if each.name == step).closure("toy", tree.settings, finder=finder)
        return {name for module, each in closure.statements() if module == "domains.toy.model" for name in each.names}

    assert {step: reached(step) & {"SPEC", "fit", "restore"} for step in ("load", "train", "evaluate", "compare")} == {
        "load": set(),
        "train": {"SPEC", "fit"},
        "evaluate": {"SPEC", "restore"},
        "compare": {"SPEC"},
    }


def test_a_file_of_the_library_that_code_names_by_its_path_counts_and_no_other_there(tree: Tree) -> None:
    template = "hallmark/training/templates/trainjob.yaml"
    assert tree.changed(template, lambda text: text + "# more\n") == {"train"}
    assert tree.changed("hallmark/tco/prices.yaml", lambda text: text + "# more\n") == set()


def test_what_is_registered_started_or_read_beside_counts_too(pack: Callable[..., set[str]]) -> None:
    main = "from pack import a\n\ndef start():\n    run(['python', '-m', 'domains.toy.go'])\n    return a.KNOWN\n\ndef run(c): ...\n"
    a = (
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nfrom pack.b import register\n"
        "if TYPE_CHECKING:\n    from pack.c import Typed\n\n"
        "KNOWN = []\n\n@register\ndef kept(x: Typed) -> Typed: ...\n\n@property\ndef plain(): ...\n"
    )
    found = pack(main=main, a=a, b="def register(f): ...\n", c="class Typed: ...\nRUN = 1\n")
    assert {"a.kept", "b.register", "main.run"} <= found
    assert not {"a.plain", "c.Typed", "c.RUN"} & found


def test_code_that_asks_where_a_module_lies_counts_the_files_it_names_there_or_all(tree: Tree, tmp_path: Path) -> None:
    assert {name.partition(": ")[2] for name in tree.closures()["export"].files} == {"features.py"}
    serving = tree.root / "domains/toy/serving.py"
    serving.write_text("")
    try:
        assert tree.changed(serving, lambda text: "# not even run\n") == {"export"}
    finally:
        serving.unlink()
    (tmp_path / "domains").mkdir()
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/main.py").write_text("def start():\n    return Path(__file__).parent\n")
    (tmp_path / "pack/known.csv").write_text("1\n")
    closure = Finder("none", Settings.load({"HALLMARK_ROOT": str(tmp_path)})).reach("pack.main", "start")
    assert set(closure.files) == {"pack.main: main.py", "pack.main: known.csv"}


def test_a_domains_key_is_told_by_the_attributes_that_are_read(pack: Callable[..., set[str]], tmp_path: Path) -> None:
    text = "def start(domain, it):\n    it.serving.precision\n    return domain.gate.slices.columns, domain.gpus, it.drift.labels.margin\n"
    pack(main=text)
    closure = Finder("none", Settings.load({"HALLMARK_ROOT": str(tmp_path)})).reach("pack.main", "start")
    found = declared.asked(closure.statements())
    assert {"serving", "training", "reviewer", "gate.slices", "drift.labels"} == found - {"gpu", "replicas"}
