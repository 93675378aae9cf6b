"""`hallmark predict` on fraud against a bare loop of pyarrow and ONNX Runtime that does the same: a ratio in CPU time, in turns, and the memory of each.

python benchmarks/predict.py [ROWS]: 5,000,000 by default, a process for each turn, the same number of threads.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

ROWS, TURNS, THREADS = 5_000_000, 3, 2
TARGET, MEMORY = 0.8, 600
"""Speed beside the bare loop's, at least; MB, at most."""
_BLOCK = 65_536


def main() -> None:
    """Print the CPU seconds and memory of both, in turns, and the ratio of their medians."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, __file__, "make", folder, str(rows)], check=True)
        found: dict[str, list[dict[str, float]]] = {"bare": [], "ours": []}
        for _ in range(TURNS):
            for who in found:
                done = subprocess.run(
                    [sys.executable, __file__, who, folder], check=True, capture_output=True, text=True
                )
                found[who].append(json.loads(done.stdout.splitlines()[-1]))
    middle = {who: statistics.median(each["cpu"] for each in turns) for who, turns in found.items()}
    memory = {who: max(each["memory"] for each in turns) for who, turns in found.items()}
    for who, seconds in middle.items():
        print(f"{who:<6}{rows:>12,} rows  {seconds:>7.2f} s of CPU  {memory[who]:>6.0f} MB")
    ratio = middle["bare"] / middle["ours"]
    print(f"speed {ratio:.2f} x the bare loop's, target {TARGET}: {'met' if ratio >= TARGET else 'MISSED'}")
    print(f"memory {memory['ours']:.0f} MB, target {MEMORY}: {'met' if memory['ours'] <= MEMORY else 'MISSED'}")


def make(folder: Path, rows: int) -> None:
    """A model of fraud, and orders to score."""
    import pyarrow as pa
    from pyarrow import parquet

    from domains.fraud import model
    from hallmark.declaration import domain as domains
    from hallmark.learners.model import examples
    from hallmark.training import export
    from hallmark.training import source as sources

    start = datetime(2026, 7, 1, tzinfo=UTC)
    frame = sources.load(
        "fraud", source="synthetic", start=start, end=start + timedelta(days=20), seed=7
    )  # with its views
    some = examples("fraud", frame)
    made = model.fit(some, some, seed=7, rounds=150)
    (folder / "model").mkdir()
    export.export(domains.load("fraud"), made, folder / "model", test=frame.head(5000), reference=frame)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with parquet.ParquetWriter(folder / "orders.parquet", table.schema) as writer:
        left = rows
        while left > 0:
            writer.write_table(table.slice(0, left))
            left -= len(table)


def bare(folder: Path) -> None:
    """What one would write by hand: blocks, the same feature code, the session, a file of scores."""
    import onnxruntime
    import pyarrow as pa
    from pyarrow import parquet

    from domains.fraud.features import FIELDS, encode

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        str(folder / "model" / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    names, writer = [field.name for field in FIELDS], None
    with parquet.ParquetFile(folder / "orders.parquet") as file:
        for batch in file.iter_batches(_BLOCK, columns=[*names, "buyer_id", "ordered_at"]):
            columns = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in names}
            score = session.run(["score"], {"input": encode(columns)})[0]
            made = pa.table(
                {"buyer_id": batch.column("buyer_id"), "ordered_at": batch.column("ordered_at"), "score": score}
            )
            writer = writer or parquet.ParquetWriter(folder / "bare.parquet", made.schema)
            writer.write_table(made)
    if writer is not None:
        writer.close()


def ours(folder: Path) -> None:
    """The same by `hallmark predict`."""
    from hallmark.artifacts import bundle
    from hallmark.batch.predict import predict
    from hallmark.declaration import domain as domains
    from hallmark.registry.store import ServableVersion

    path = folder / "model"
    digest = bundle.read(path, expected=None).digest
    version = ServableVersion(domain="fraud", version=1, storage_uri=str(path), digest=digest, path=path)
    predict(
        domains.load("fraud"), version, data=folder / "orders.parquet", out=folder / "ours.parquet", threads=THREADS
    )


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "make":
        make(Path(sys.argv[2]), int(sys.argv[3]))
    elif len(sys.argv) > 2:
        began = time.process_time()
        {"bare": bare, "ours": ours}[sys.argv[1]](Path(sys.argv[2]))
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"cpu": time.process_time() - began, "memory": usage}))
    else:
        main()
