"""Statements on fakesnow, in an environment beside ours: tables and statements as JSON come in, rows as JSON go out."""

# ruff: noqa: S608, T201 (names of this file; what is printed is read by the test)

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

import fakesnow
import snowflake.connector

TABLES = {
    "orders": (
        "order_id varchar, buyer_id varchar, ordered_at timestamp_tz, known_at timestamp_tz,"
        " amount double, items bigint, paid boolean, card varchar"
    ),
    "asked_for": "n bigint, buyer_id varchar, asked_at timestamp_tz",
}


def main() -> None:
    answers = []
    with fakesnow.patch():
        cursor = snowflake.connector.connect(database="d", schema="s").cursor()
        for task in json.load(sys.stdin):
            for name, columns in TABLES.items():
                cursor.execute(f"create or replace table {name} ({columns})")
                if task[name]:
                    marks = ", ".join(["%s"] * len(task[name][0]))
                    cursor.executemany(f"insert into {name} values ({marks})", task[name])
            cursor.execute(task["statement"])
            names = [column[0].lower() for column in cursor.description]
            answers.append([{n: plain(v) for n, v in zip(names, row, strict=True)} for row in cursor.fetchall()])
    print(json.dumps(answers))


def plain(value: Any) -> Any:
    return {"time": value.isoformat()} if isinstance(value, datetime) else value


if __name__ == "__main__":
    main()
