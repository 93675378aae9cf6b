#!/usr/bin/env bash
# sqlglot turns DuckDB's TRY(expression), which is null where the expression has no result, into the bare expression for Spark and Snowflake: the query
# is valid there and stops with an error, or gives another value, at the first row that overflows. It says so in a log line ("Unsupported TRY function")
# and raises nothing unless asked to by unsupported_level. TRY_CAST of what it knows to be a number becomes a plain CAST for Snowflake besides.
# Versions: sqlglot 30.22.0, duckdb 2.0.1.
# Why it matters: one definition for several engines is transpiled in CI, reads well, and fails on the warehouse on the row that it was written for.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "sqlglot==30.22.0" "duckdb==2.0.1"
cat > "$folder/tries.py" <<'PY'
from importlib.metadata import version

import duckdb
import sqlglot

print("sqlglot", version("sqlglot"), "duckdb", version("duckdb"))
QUERY = "SELECT TRY(a * b) AS product FROM (SELECT 9223372036854775807 AS a, 2 AS b) AS t"
print("duckdb gives", duckdb.sql(QUERY).fetchall())
assert duckdb.sql(QUERY).fetchall() == [(None,)], "the finding has changed"
try:
    duckdb.sql(QUERY.replace("TRY(a * b)", "a * b")).fetchall()
    raise SystemExit("the finding has changed")
except duckdb.OutOfRangeException as error:
    print("without TRY:", str(error).splitlines()[0][:80])
for engine in ("spark", "snowflake"):
    (found,) = sqlglot.transpile(QUERY, read="duckdb", write=engine)
    print(engine, found)
    assert "TRY" not in found and "a * b AS product" in found, "the finding has changed"
    try:
        sqlglot.transpile(QUERY, read="duckdb", write=engine, unsupported_level=sqlglot.ErrorLevel.RAISE)
        raise SystemExit("the finding has changed")
    except sqlglot.UnsupportedError as error:
        print(engine, "asked to raise:", error)
PY
"$folder/venv/bin/python" "$folder/tries.py"
