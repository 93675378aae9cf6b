"""`python -m benchmarks.serving.venvs DIR`: a virtual environment for each server that is compared and not installed here.

One a contender, DIR/mosec and so on, since their needs clash; each with the ONNX Runtime that this environment has.
Those that exist already are left as they are. Then: `python -m benchmarks.serving --venvs DIR`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = {
    "mosec": ("mosec==0.9.8", "msgspec"),
    "litserve": ("litserve==0.2.19",),
    "bentoml": ("bentoml==1.4.39",),
    "mlserver": ("mlserver==1.7.1",),
}


def make(folder: Path, name: str) -> None:
    """One environment."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    wanted = [*PACKAGES[name], f"onnxruntime=={metadata.version('onnxruntime')}"]
    subprocess.run([str(folder / "bin/python"), "-m", "pip", "install", "--quiet", *wanted], check=True)


def main() -> None:
    """All that are asked for."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks.serving.venvs", description=__doc__)
    flags.add_argument("folder", type=Path)
    flags.add_argument("names", nargs="*", default=sorted(PACKAGES), help="of " + ", ".join(PACKAGES))
    options = flags.parse_args()
    if unknown := set(options.names) - PACKAGES.keys():
        flags.error(f"expected names of {', '.join(PACKAGES)}; got {', '.join(sorted(unknown))}")
    for name in options.names:
        if not (options.folder / name / "bin/python").exists():
            print(f"making {options.folder / name}", flush=True)
            make(options.folder / name, name)


if __name__ == "__main__":
    main()
