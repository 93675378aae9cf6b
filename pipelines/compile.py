"""A domain's graph as a file, in a process of its own: `python -m pipelines.compile DOMAIN training|features|batch FILE [IMAGE]`."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

from pipelines import batch, features, training


def graph_of(domain: str, kind: str) -> ModuleType:
    """The graph of its features, of its batches, or of its training: the domain's own where it has one, else the standard one."""
    if kind in ("features", "batch"):
        return features if kind == "features" else batch
    own = Path(__file__).with_name(f"{domain}.py")
    return importlib.import_module(f"pipelines.{domain}") if own.is_file() else training


def main() -> None:
    """Compile what the command line names."""
    domain, kind, path, *image = sys.argv[1:]
    graph_of(domain, kind).compile_to(Path(path), domain, image=image[0] if image else None)


if __name__ == "__main__":
    main()
