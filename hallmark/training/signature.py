"""The signature of a step's function, which says what the step reads, what it writes and what it is told.

    def split(
        domain: str,
        *,
        seed: int,                                    # told
        examples: Annotated[Path, Reads("Dataset")],  # a file or folder whose content counts
        test: Annotated[Path, Writes("Dataset")],     # a file or folder that the step makes
    ) -> None: ...

Artifact types go by the names that Kubeflow shows them under, so that kfp is not imported here.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reads:
    """A file or folder that the step reads.

    artifact: its type in the graph.
    named:    where the graph hands over a name and no artifact: what makes a path of it, or leaves it as it is.
    """

    artifact: str = "Artifact"
    named: Callable[[str], Path | str] | None = None


@dataclass(frozen=True)
class Writes:
    """A file or folder that the step writes, of this type in the graph."""

    artifact: str = "Artifact"


@dataclass(frozen=True)
class FoundAtRun:
    """A keyword that `prepare` finds out when the step runs; the graph does not hand it over."""


@dataclass(frozen=True)
class Addresses:
    """A keyword that holds where the step's artifacts lie for other machines, by name; empty where all is on this one."""


@dataclass(frozen=True)
class Shows:
    """A result that Kubeflow draws: metrics, and a ROC curve or a confusion matrix."""


@dataclass(frozen=True)
class Keyword:
    """One keyword of a step.

    kind:    the type as the graph has it, in Python's words; of an artifact, its type's name.
    default: `inspect.Parameter.empty` where there is none.
    """

    name: str
    kind: str
    annotations: tuple[Any, ...]
    default: Any

    def annotation(self, kind: type[Any]) -> Any:
        """The annotation of this kind; none where there is none."""
        return next((each for each in self.annotations if isinstance(each, kind)), None)


@dataclass(frozen=True)
class StepSignature:
    """Arguments and results of a pipeline step.

    keywords: of the function.
    asked:    of its `prepare`, besides these.
    returns:  the type of what it returns, in Python's words.
    """

    keywords: tuple[Keyword, ...]
    asked: tuple[Keyword, ...]
    returns: str
    shows: bool

    @property
    def reads(self) -> tuple[str, ...]:
        """The keywords that are files or folders read."""
        return tuple(each.name for each in self.keywords if each.annotation(Reads))

    @property
    def writes(self) -> tuple[str, ...]:
        """The keywords that are files or folders written."""
        return tuple(each.name for each in self.keywords if each.annotation(Writes))

    @property
    def given(self) -> tuple[Keyword, ...]:
        """Arguments that the graph passes, in order; optional ones come last."""
        said = [each for each in self.keywords if not each.annotation(FoundAtRun) and not each.annotation(Addresses)]
        return tuple(sorted([*said, *self.asked], key=lambda each: each.default is not inspect.Parameter.empty))


def signature(function: Callable[..., Any], prepare: Callable[..., Any] | None = None) -> StepSignature:
    """The signature of a step's function, its first argument (the domain's name) left out."""
    keywords = _keywords(function)
    known = {each.name for each in keywords}
    asked = [each for each in _keywords(prepare) if each.name not in known] if prepare else []
    returned = typing.get_type_hints(function, include_extras=True)["return"]
    return StepSignature(
        keywords=tuple(keywords),
        asked=tuple(asked),
        returns=_said(returned),
        shows=any(isinstance(mark, Shows) for mark in getattr(returned, "__metadata__", ())),
    )


def _keywords(function: Callable[..., Any]) -> list[Keyword]:
    hints = typing.get_type_hints(function, include_extras=True)
    found = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        hint = hints[parameter.name]
        annotations = tuple(getattr(hint, "__metadata__", ()))
        artifact = next((each.artifact for each in annotations if isinstance(each, Reads | Writes)), "")
        named = any(isinstance(each, Reads) and each.named for each in annotations)
        kind = "str" if named else artifact or _said(hint)
        found.append(Keyword(name=parameter.name, kind=kind, annotations=annotations, default=parameter.default))
    return found


def _said(hint: Any) -> str:
    plain = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    return "None" if plain is type(None) else inspect.formatannotation(plain).replace("typing.", "")
