#!/usr/bin/env bash
# Flink 2.2.1: the newest row of each key by ROW_NUMBER, ordered by two columns, and counted by another column. A newer row should take the older
# one out of its group; it does not, for the plan says that the rank only ever inserts (EXPLAIN CHANGELOG_MODE: changelogMode=[I]). Ordered by one
# column that descends it is right.
# Version: apache-flink 2.2.1 (Flink's own code has it from 2.1 on: RankUtil.keepLastDeduplicateRow says no wherever there are several columns).
# Why it matters: "deduplicate by key, latest time, ties by sequence" is the pattern of Flink's own documentation, and corrections are lost in silence.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PY'
from pyflink.table import EnvironmentSettings, ExplainDetail, TableEnvironment

ROWS = "(VALUES (1, 'a', 1, 9), (2, 'a', 1, 5), (1, 'b', 2, 9)) AS e(id, team, known, points)"


def found(order: str) -> tuple[str, dict]:
    tables = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    tables.get_config().set("parallelism.default", "1")
    newest = f"SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY id ORDER BY {order}) AS n FROM {ROWS}) WHERE n = 1"
    query = f"SELECT team, COUNT(*) AS rows_, MAX(points) AS most FROM ({newest}) GROUP BY team"
    plan = tables.explain_sql(query, ExplainDetail.CHANGELOG_MODE)
    rank = next(line for line in plan.splitlines() if "Rank(" in line and "changelogMode" in line)
    mode = rank[rank.index("changelogMode") :].rstrip(")") + (" MAX_RETRACT" if "MAX_RETRACT" in plan else " MAX")
    last = {}
    with tables.execute_sql(query).collect() as rows:
        for row in rows:
            if row.get_row_kind().name in ("INSERT", "UPDATE_AFTER"):
                last[row[0]] = (row[1], row[2])
            elif row.get_row_kind().name == "DELETE":
                last.pop(row[0])
    return mode, last


RIGHT, LOST = {"a": (1, 5), "b": (1, 9)}, {"a": (2, 9), "b": (1, 9)}
for order, expected in (
    ("known DESC", ("changelogMode=[I,UB,UA,D] MAX_RETRACT", RIGHT)),
    ("known DESC, points DESC", ("changelogMode=[I] MAX", LOST)),
):
    mode, got = found(order)
    print(f"ORDER BY {order:24} {mode:38} {got}", "right" if got == RIGHT else "wrong")
    assert (mode, got) == expected, "the finding has changed"
PY
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-flink==2.2.1
"$folder/venv/bin/python" -W ignore "$folder/try.py"
