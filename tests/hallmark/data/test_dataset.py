"""Data sets on disk: the same bytes for the same frame, whole or not at all, and clear where they cannot be read."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hallmark.data import dataset
from hallmark.errors import ContractBroken, HallmarkError, NotFound


def frame() -> pd.DataFrame:
    times = pd.date_range("2026-01-01", periods=5, freq="h", tz="UTC").as_unit("us")
    return pd.DataFrame(
        {
            "id": ["a", "b", "c", "d", "e"],
            "photo": pd.Series([b"\xff\xd8", b"", b"x" * 2000, b"\x00", b"y"], dtype=object),
            "amount": [1.5, 2.0, np.pi, 0.1, 5.0],
            "count": np.arange(5),
            "yes": [True, False, True, False, True],
            "at": times,
            "never": pd.Series([pd.NaT] * 5, dtype=times.dtype),
        }
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    dataset.write(frame(), tmp_path / "new" / "a.parquet")
    pd.testing.assert_frame_equal(dataset.read(tmp_path / "new" / "a.parquet"), frame())


def test_the_same_frame_gives_the_same_digest_and_another_another(tmp_path: Path) -> None:
    dataset.write(frame(), tmp_path / "a.parquet")
    reread = dataset.read(tmp_path / "a.parquet")
    dataset.write(reread.set_axis(range(7, 12), axis=0), tmp_path / "b.parquet")
    dataset.write(frame().assign(count=[0, 1, 2, 3, 5]), tmp_path / "c.parquet")
    first, second, third = (dataset.digest(tmp_path / f"{name}.parquet") for name in "abc")
    assert first == second != third and first.startswith("sha256:")


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    code = """
        import sys; from pathlib import Path; from datetime import datetime, UTC, timedelta
        from hallmark.data import dataset; from domains.fraud.synthetic import orders
        start = datetime(2026, 7, 1, tzinfo=UTC)
        dataset.write(orders(start, start + timedelta(days=2), seed=7, per_day=100), Path(sys.argv[1]))
        print(dataset.digest(Path(sys.argv[1])))
    """
    told = [
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / f"{seed}.parquet")],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    ]
    assert told[0] == told[1]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    dataset.write(frame(), path)
    before = path.read_bytes()
    code = f"""
        import resource, signal; from pathlib import Path; import numpy as np, pandas as pd; from hallmark.data import dataset
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, {resource.RLIM_INFINITY}))
        dataset.write(pd.DataFrame({{"x": np.random.default_rng(0).random(100_000)}}), Path({str(path)!r}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode != 0 and "File too large" in done.stderr
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["a.parquet"]


def test_a_file_that_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no data set a\.parquet"):
        dataset.read(tmp_path / "a.parquet")
    with pytest.raises(NotFound, match="there is no data set"):
        dataset.read(tmp_path)
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(HallmarkError, match=r"b\.parquet cannot be read"):
        dataset.read(tmp_path / "b.parquet")
    dataset.write(frame(), tmp_path / "c.parquet")
    cut = (tmp_path / "c.parquet").read_bytes()
    (tmp_path / "c.parquet").write_bytes(cut[: len(cut) // 2])
    with pytest.raises(HallmarkError, match=r"c\.parquet cannot be read"):
        dataset.read(tmp_path / "c.parquet")


def test_a_column_of_two_kinds_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractBroken, match="column amount holds several kinds of values"):
        dataset.write(pd.DataFrame({"amount": [1.5, "two"]}), tmp_path / "a.parquet")
    with pytest.raises(ContractBroken, match="column x is there more than once"):
        dataset.write(pd.DataFrame([[1, 2]], columns=["x", "x"]), tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []
