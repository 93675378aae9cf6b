#!/usr/bin/env bash
# pyarrow 25.0.1 cannot trunc, floor, ceil or round a decimal column whose type has no place before the point, decimal128(3, 3) for
# instance: ArrowInvalid "will not fit in precision", whatever the value is. It is raised for trunc too, whose answer is 0 for all values of
# that type. One place more, decimal128(4, 3), and the same values pass.
# Version: pyarrow 25.0.1.
# Why it matters: databases write shares and rates (0.125) as such columns, and "is this a whole number" is commonly asked by comparing a
# column with its trunc: a data check of such a Parquet file ends in an exception instead of an answer. Cast to one place more first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==25.0.1
cat > "$folder/try.py" <<'PY'
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

print("pyarrow", pa.__version__)
columns = {"0.125": [Decimal("0.125")], "0.000": [Decimal("0.000")]}
for name, values in columns.items():
    column = pa.array(values, pa.decimal128(3, 3))
    wider = pa.array(values, pa.decimal128(4, 3))
    for call in (pc.trunc, pc.floor, pc.ceil, pc.round):
        try:
            found = str(call(column)[0])
        except pa.ArrowInvalid as error:
            found = f"ArrowInvalid: {error}"
        print(f"{call.__name__:<6} of {name:<6} decimal128(3, 3): {found}; decimal128(4, 3): {call(wider)[0]}")
        assert "will not fit in precision" in found, "the finding has changed"
PY
"$folder/venv/bin/python" "$folder/try.py"
