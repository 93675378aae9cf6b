#!/usr/bin/env bash
# pyarrow 25.0.1 imports pandas, where it is installed, in calls that have nothing to do with it: Array.to_numpy and
# Schema.empty_table. The first of them in a process costs as much as `import pandas`. Table.from_batches and numpy.from_dlpack give the
# same and do not.
# Versions: pyarrow 25.0.1, pandas 2.3.3, numpy 2.4.6.
# Why it matters: a short job on Arrow and Parquet that needs no pandas pays for it: 0.25 s of CPU of the 0.9 s of a training frame.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==25.0.1 pandas==2.3.3 numpy==2.4.6
cat > "$folder/try.py" <<'PY'
import sys
from time import process_time

import numpy as np
import pyarrow as pa

batch = pa.RecordBatch.from_arrays([pa.Array.from_buffers(pa.int64(), 1, [None, pa.py_buffer(bytes(8))])], names=["n"])
calls = {
    "Array.to_numpy": lambda: batch.column(0).to_numpy(),
    "Schema.empty_table": lambda: batch.schema.empty_table(),
    "Table.from_batches": lambda: pa.Table.from_batches([], schema=batch.schema),
    "numpy.from_dlpack": lambda: np.from_dlpack(batch.column(0)),
}
began = process_time()
calls[sys.argv[1]]()
print(f"pyarrow {pa.__version__}  {sys.argv[1]:<20} {process_time() - began:.3f} s of CPU  pandas imported: {'pandas' in sys.modules}")
assert ("pandas" in sys.modules) == (sys.argv[2] == "yes"), "the finding has changed"
PY
for call in Array.to_numpy Schema.empty_table; do "$folder/venv/bin/python" "$folder/try.py" "$call" yes; done
for call in Table.from_batches numpy.from_dlpack; do "$folder/venv/bin/python" "$folder/try.py" "$call" no; done
