"""Storage initializer of a node of processes: copies a model from a folder that stands for the buckets to where the pod wants it.

    python -m local_cluster.storage s3://bucket/path /mnt/models

$BUCKETS has a folder for each bucket. Like KServe's, it takes the address and the target, and copies what the address's folder holds.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from hallmark.errors import HallmarkError

BUCKETS = "BUCKETS"


def folder(uri: str, buckets: Path) -> Path:
    """The folder that stands for `uri`; `HallmarkError` where there is none."""
    scheme, _, path = uri.partition("://")
    found = (buckets / path.strip("/")).resolve()
    if scheme != "s3" or not found.is_relative_to(buckets.resolve()) or not found.is_dir():
        raise HallmarkError(f"{uri} is not there", expected="s3:// and a folder of a bucket", got=uri)
    return found


def main(arguments: list[str]) -> int:
    """Copy each pair of address and target; 1 where an address is not there."""
    try:
        for uri, target in zip(arguments[::2], arguments[1::2], strict=True):
            shutil.copytree(folder(uri, Path(os.environ[BUCKETS])), target, dirs_exist_ok=True)
    except HallmarkError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
