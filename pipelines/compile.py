"""A domain's graph as a file, in a process of its own: `python -m pipelines.compile DOMAIN training|features|batch|tuning FILE [IMAGE] [SEARCH]`."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

from pipelines import batch, features, training, tuning


def graph_of(domain: str, kind: str) -> ModuleType:
    """The graph of its features, of its batches, of a search, or of its training: the domain's own where it has one, else the standard one."""
    if kind != "training":
        return {"features": features, "batch": batch, "tuning": tuning}[kind]
    own = Path(__file__).with_name(f"{domain}.py")
    return importlib.import_module(f"pipelines.{domain}") if own.is_file() else training


def main() -> None:
    """Compile what the command line names."""
    domain, kind, path, *rest = sys.argv[1:]
    image, search = [*rest, "", ""][:2]
    given = {"search": search} if search else {}
    graph_of(domain, kind).compile_to(Path(path), domain, image=image or None, **given)


if __name__ == "__main__":
    main()
