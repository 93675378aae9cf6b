"""Static pages in one look: one file, no script, no network, and everything from outside escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hallmark
from hallmark.errors import DeclarationError, NotFound

if TYPE_CHECKING:
    from jinja2 import Environment

_ROOT = Path(hallmark.__file__).parent


def environment(filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """Jinja's environment of the package's templates, for whoever fills them more than once. `Markup` alone is not escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_ROOT),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(filters)
    return made


def filled(template: str, *, filters: Mapping[str, Callable[..., Any]], **values: Any) -> str:
    """A page as HTML. template: extends page.html; named from the package, such as rollout/timeline.html."""
    return environment(filters).get_template(template).render(**values)


def write(path: Path, text: str) -> None:
    """Write a page; `DeclarationError` where `path` is a folder, `NotFound` where it cannot be written."""
    if path.is_dir():
        raise DeclarationError("the page needs a file's name", expected="such as page.html", got=f"{path}, a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NotFound(f"{path} cannot be written", got=str(error), fix="name another file") from error
