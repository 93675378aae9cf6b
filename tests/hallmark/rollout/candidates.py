"""A good version of fraud, and versions that are broken in one way each, made of it in a fraction of a second, whole and with extra_inputs.

Each loads: what is wrong shows in its answers. Those that are slow or die spare the runtime's own warm-up, as the real ones do.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from rich.console import Console

from hallmark.artifacts import model_card as model_cards
from hallmark.artifacts.folder import seal
from hallmark.artifacts.release import Target
from hallmark.cli.progress import TaskLines
from hallmark.declaration import domain as domains
from hallmark.declaration import serving_config
from hallmark.drift import profile as profiles
from hallmark.drift.profile import Profile
from hallmark.files import digest_file
from hallmark.registry.store import Registry
from hallmark.rollout.writer import InferenceServiceWriter
from hallmark.settings import Settings
from tools import drill
from tools.rehearsal import World
from tools.traffic import Requests, Traffic

ROOT = Path(__file__).parents[3]
NAME = "fraud"
SLOW_SECONDS = 1.5
HANG_SECONDS = 6.0
"""fraud's timeout is 2 s."""
LAST_REQUEST = 20
FLIPPED = 0.03

_WARM = 'bool((columns["amount"] == 1.0).all())'
"""What the runtime measures a model with as it starts: rows of ones (inference_services/protocol/schema.py)."""


DAY = "2026-09-01T00:00:00+00:00"


def train(
    at: Path, *, name: str = NAME, window: str = "14d", options: Mapping[str, Any] = MappingProxyType({"rounds": 60})
) -> int:
    """Train and register version 1 of a domain for the settings in the environment, its outputs in `at`; gives the version.

    The steps of a training one after the other in this process, which spares an interpreter each.
    """
    from hallmark.training import steps

    fitted = dict(options)
    steps.load(name, source="synthetic", as_of=DAY, window=window, seed=7, shift="", examples=at / "examples")
    steps.validate(name, examples=at / "examples", facts=at / "facts", summary=at / "summary")
    parts = {part: at / part for part in ("training", "validation", "test")}
    steps.split(name, as_of=DAY, seed=7, examples=at / "examples", seen=at / "seen", **parts)
    test = parts.pop("test")
    steps.train(name, seed=7, options=fitted, trained=at / "trained", history=at / "history", **parts)
    judged = {"evaluation": at / "evaluation", "plots": at / "plots"}
    steps.evaluate(name, trained=at / "trained", test=test, slices=at / "slices", scores=at / "scores", **judged)
    decided = {"evaluation": at / "evaluation", "decision": at / "decision"}
    steps.compare(name, test=test, scores=at / "scores", summary=at / "why", **decided)
    assert steps.gate(name, decision=at / "decision"), (at / "why").read_text()
    made = {"model": at / "model", "parity": at / "parity"}
    steps.export(name, trained=at / "trained", test=test, source="synthetic", as_of=DAY, seed=7, **made)
    extra_inputs = {**judged, **decided, **made, "facts": at / "facts", "seen": at / "seen"}
    given = {"source": "synthetic", "as_of": DAY, "seed": 7, "shift": "", "options": fitted}
    return steps.register(name, **given, **extra_inputs)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Trained:
    """Version 1 of fraud, trained once for all tests: its sealed folder, and the database of a registry that holds nothing."""

    folder: Path
    database: Path

    def register(self, settings: Settings) -> int:
        """Make it version 1 of the registry of these settings, which is new; gives the version."""
        settings.prepared()
        shutil.copyfile(self.database, settings.state / "mlflow.db")
        return Registry(settings).register(self.folder, model_cards.read(self.folder))


@dataclass
class Rehearsal:
    """Version 1 of fraud, served on a local cluster under clean requests; the shifted ones are to come."""

    world: World
    writer: InferenceServiceWriter
    traffic: Traffic
    shifted: Requests
    shown: TaskLines

    @classmethod
    @contextmanager
    def on(
        cls, state: Path, *, seed: int, trained: Trained | None = None, changes: Sequence[str] = ()
    ) -> Iterator[Self]:
        """One in the folder `state`. Its own pipeline trains that version, unless it is given."""
        world = World.make(NAME, state, base=Settings.load({"HALLMARK_ROOT": str(ROOT)}), changes=changes)
        if trained is not None:
            world.train = lambda report: trained.register(world.settings)  # type: ignore[method-assign]
        with (
            TaskLines(Console(file=io.StringIO())) as shown,
            drill.prepared(world, shown, seed=seed) as (writer, traffic, shifted),
        ):
            yield cls(world, writer, traffic, shifted, shown)


def register(kind: str, settings: Settings, *, domain: str = NAME, good: int | str = 1) -> Target:
    """Make the candidate of this kind (a key of `KINDS`) from version `good`, and register it; gives what to release."""
    registry = Registry(settings)
    source = registry.resolve(domain, good).fetch()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / kind
        make(kind, source, folder)
        version = registry.register(folder, model_cards.read(folder))
    return Target.of(registry.resolve(domain, version), serving_config.of(domains.load(domain, settings)).reference)


def make(kind: str, good: Path, folder: Path) -> str:
    """Write the model folder of this kind, sealed and with its model card; gives the digest."""
    shutil.copytree(good, folder, copy_function=shutil.copyfile)
    KINDS[kind](folder)
    digest = seal(folder)
    model_card = model_cards.ModelCard.model_validate_json((good / "model_card.json").read_bytes())
    changed = {
        "model": digest,
        "features": digest_file(folder / "features.py"),
        "profile": digest_file(folder / "profile.json"),
        "created": datetime.now(UTC).replace(microsecond=0),
    }
    text = model_card.model_copy(update=changed).model_dump_json(indent=2) + "\n"
    (folder / "model_card.json").write_text(text, encoding="utf-8")
    model_cards.read(folder)
    return digest


def _good(folder: Path) -> None:
    _graph(folder, lambda model: setattr(model, "doc_string", "the same trees under another name"))


def _raises(folder: Path) -> None:
    _encode(folder, 'raise KeyError("amount_eur")')


def _backwards(folder: Path) -> None:
    """Of any domain: numbers with the other sign, pictures with sides exchanged."""
    path = folder / "features.py"
    path.write_text(
        f"{path.read_text(encoding='utf-8')}\n\n_honest = encode\n\n\ndef encode(columns):\n    found = _honest(columns)\n"
        "    return found.swapaxes(-1, -2).copy() if found.ndim > 2 else -found\n",
        encoding="utf-8",
    )


def _slow(folder: Path) -> None:
    _encode(folder, f"time.sleep(0.005 if {_WARM} else {SLOW_SECONDS})")


def _hangs(folder: Path) -> None:
    _encode(folder, f"time.sleep(0.005 if {_WARM} else {HANG_SECONDS})")


def _dies(folder: Path) -> None:
    _encode(
        folder,
        "global _left",
        f'_left -= 0 if {_WARM} else len(columns["amount"])',
        "if _left <= 0:",
        "    os._exit(1)",
        before=f"_left = {LAST_REQUEST}\n",
    )


def _nan(folder: Path) -> None:
    _score(folder, ("Mul", np.float32("nan")))


def _range(folder: Path) -> None:
    _score(folder, ("Add", np.float32(1.0)))


def _shifted(folder: Path) -> None:
    """With a reference of its own, as a trained model would have: only beside stable does it look wrong."""
    _score(folder, ("Mul", np.float32(0.5)), ("Add", np.float32(0.5)))
    import pandas as pd

    sample = pd.read_parquet(folder / "reference.parquet")
    sample["score"] = (0.5 + sample["score"] / 2).astype("float32")
    sample.to_parquet(folder / "reference.parquet", index=False)
    known = Profile.model_validate_json((folder / "profile.json").read_bytes())
    (moved,) = profiles.build({}, scores={"score": sample["score"].to_numpy()}).columns
    columns = tuple(moved if column.name == "score" else column for column in known.columns)
    made = known.model_copy(update={"columns": columns, "seasons": (), "error": None})
    (folder / "profile.json").write_text(made.model_dump_json(), encoding="utf-8")


def _shape(folder: Path) -> None:
    from onnx import helper

    def twice(model: Any) -> None:
        _rename(model, "score", "single")
        model.graph.node.append(helper.make_node("Concat", ["single", "single"], ["score"], axis=0))
        del model.graph.output[0].type.tensor_type.shape.dim[:]
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "twice"

    _graph(folder, twice)


def _flips(folder: Path) -> None:
    """1 - score for 3 in 100 of the dearest tenth, picked by what is in the record: by the fraction of a sum of its logarithms."""
    import pandas as pd
    from onnx import TensorProto, helper, numpy_helper

    dear = float(np.log1p(pd.read_parquet(folder / "reference.parquet")["amount"].quantile(0.9)))

    def flip(model: Any) -> None:
        _rename(model, "score", "honest")
        graph = model.graph
        numbers = {"dear": dear, "spread": 997.0, "share": FLIPPED, "one": 1.0}
        graph.initializer.extend(numpy_helper.from_array(np.float32(n).reshape(()), f) for f, n in numbers.items())
        graph.initializer.append(numpy_helper.from_array(np.array(0, dtype=np.int64), "first"))
        graph.initializer.append(numpy_helper.from_array(np.array([0, 8, 9], dtype=np.int64), "some"))
        graph.initializer.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "across"))
        graph.node.extend(
            [
                helper.make_node("Gather", ["input", "first"], ["amount"], axis=1),
                helper.make_node("Greater", ["amount", "dear"], ["is_dear"]),
                helper.make_node("Gather", ["input", "some"], ["logarithms"], axis=1),
                helper.make_node("ReduceSum", ["logarithms", "across"], ["sum"], keepdims=0),
                helper.make_node("Mul", ["sum", "spread"], ["wide"]),
                helper.make_node("Mod", ["wide", "one"], ["fraction"], fmod=1),
                helper.make_node("Less", ["fraction", "share"], ["is_picked"]),
                helper.make_node("And", ["is_dear", "is_picked"], ["is_flipped"]),
                helper.make_node("Sub", ["one", "honest"], ["opposite"]),
                helper.make_node("Where", ["is_flipped", "opposite", "honest"], ["score"]),
            ]
        )
        assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT

    _graph(folder, flip)


KINDS: dict[str, Callable[[Path], None]] = {
    "good": _good,
    "backwards": _backwards,
    "raises": _raises,
    "slow": _slow,
    "hangs": _hangs,
    "nan": _nan,
    "shape": _shape,
    "range": _range,
    "shifted": _shifted,
    "dies": _dies,
    "flips": _flips,
}
"""good: the same answers under another digest. backwards: plausible answers, to what was not asked. raises: 500. slow: 1.5 s an answer. hangs: 6 s. nan, range (over 1), shape (twice
the rows): 500, since the runtime holds them back. shifted: 0.5 + score / 2. dies: the process, on its 20th record. flips: `_flips`."""


def _encode(folder: Path, *lines: str, before: str = "") -> None:
    """Feature code that does `lines` before it goes on as it did."""
    path = folder / "features.py"
    body = "\n".join(f"    {line}" for line in lines)
    path.write_text(
        f"{path.read_text(encoding='utf-8')}\n\nimport os\nimport time\n\n_honest = encode\n{before}\n\n"
        f"def encode(columns):\n{body}\n    return _honest(columns)\n",
        encoding="utf-8",
    )


def _score(folder: Path, *steps: tuple[str, np.float32]) -> None:
    """The score after these operations, each with a constant."""
    from onnx import helper, numpy_helper

    def change(model: Any) -> None:
        _rename(model, "score", "step0")
        for number, (operation, constant) in enumerate(steps):
            model.graph.initializer.append(numpy_helper.from_array(constant.reshape(()), f"constant{number}"))
            out = "score" if number == len(steps) - 1 else f"step{number + 1}"
            model.graph.node.append(helper.make_node(operation, [f"step{number}", f"constant{number}"], [out]))

    _graph(folder, change)


def _graph(folder: Path, change: Callable[[Any], object]) -> None:
    import onnx

    model = onnx.load(str(folder / "model.onnx"))
    change(model)
    onnx.checker.check_model(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))


def _rename(model: Any, output: str, to: str) -> None:
    (node,) = [node for node in model.graph.node if output in node.output]
    node.output[list(node.output).index(output)] = to
