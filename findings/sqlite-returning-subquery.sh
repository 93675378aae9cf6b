#!/usr/bin/env bash
# SQLite: a subquery in RETURNING that looks a row up by a column of the changed table reads the whole other table, where the key is a text:
# the column has no affinity there, so that the index is not used. With a cast to TEXT, or as a statement of its own, it is a search.
# Version: that of Python's sqlite3 (3.40 and later were seen).
# Why it matters: `UPDATE … RETURNING (SELECT body FROM cases WHERE id = case_id)` took 9 ms with 100,000 cases, and 0.1 ms as two statements.
set -euo pipefail
"${PYTHON:-python3.11}" - <<'PY'
import sqlite3

base = sqlite3.connect(":memory:")
base.executescript("CREATE TABLE cases (id TEXT PRIMARY KEY, body TEXT); CREATE TABLE reviews (number INTEGER PRIMARY KEY, case_id TEXT, who TEXT);")


def plan(statement: str) -> list[str]:
    return [row[3] for row in base.execute(f"EXPLAIN QUERY PLAN {statement}") if "cases" in row[3]]


change = "UPDATE reviews SET who = 'a' WHERE number = 1 RETURNING (SELECT body FROM cases WHERE id = {})"
plain, cast = plan(change.format("case_id")), plan(change.format("CAST(case_id AS TEXT)"))
own = plan("SELECT body FROM cases WHERE id = 'x'")
print("SQLite", sqlite3.sqlite_version, " in RETURNING:", plain, " with a cast:", cast, " alone:", own)
assert plain == ["SCAN cases"] and own[0].startswith("SEARCH cases"), "the finding has changed"
PY
