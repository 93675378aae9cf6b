#!/usr/bin/env bash
# `pyodcs diff` compares names, types and `required` of a data contract and nothing else: "no changes", exit 0, where the primary key moved, a
# range was opened, a closed set grew, a pattern, `unique` or a time zone was dropped. And a column that may be missing from now on is
# "additive", so a pipeline that gates on it lets nulls into readers that were promised a value.
# Versions: pyodcs 0.9.1.
# Why it matters: the report's `compatible: true` reads as "readers go on as before", and says it of the changes that break them most quietly.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyodcs==0.9.1
cat > "$folder/diff.py" <<'PY'
import copy
import json

import pyodcs

OLD = {
    "apiVersion": "v3.1.0", "kind": "DataContract", "id": "orders", "version": "1.0.0", "status": "active",
    "schema": [{"name": "orders", "properties": [
        {"name": "order_id", "logicalType": "string", "required": True, "primaryKey": True, "primaryKeyPosition": 1},
        {"name": "row", "logicalType": "integer", "required": True, "unique": True},
        {"name": "amount", "logicalType": "number", "required": True, "logicalTypeOptions": {"minimum": 0, "maximum": 100}},
        {"name": "code", "logicalType": "string", "logicalTypeOptions": {"pattern": "^[a-z]+$"}},
        {"name": "at", "logicalType": "timestamp", "logicalTypeOptions": {"timezone": True}},
        {"name": "payment", "logicalType": "string",
         "quality": [{"metric": "invalidValues", "arguments": {"validValues": ["card"]}, "mustBe": 0}]},
    ]}],
}


def found(edit):
    new = copy.deepcopy(OLD)
    edit({each["name"]: each for each in new["schema"][0]["properties"]})
    old, new = (pyodcs.parse(json.dumps(each), "json")["contract"] for each in (OLD, new))
    report = pyodcs.diff(old, new)
    return report["hasBreaking"], [each["kind"] for each in report["changes"]]


QUIET = {
    "primary key moved": lambda c: (c["order_id"].update(primaryKey=False), c["row"].update(primaryKey=True)),
    "range opened": lambda c: c["amount"].pop("logicalTypeOptions"),
    "closed set grown": lambda c: c["payment"]["quality"][0]["arguments"].update(validValues=["card", "cash"]),
    "closed set gone": lambda c: c["payment"].pop("quality"),
    "pattern gone": lambda c: c["code"].pop("logicalTypeOptions"),
    "unique gone": lambda c: c["row"].pop("unique"),
    "time zone gone": lambda c: c["at"].pop("logicalTypeOptions"),
}
print("pyodcs", pyodcs.__version__)
for name, edit in QUIET.items():
    breaking, kinds = found(edit)
    print(f"{name:<20} breaking: {breaking}  changes: {kinds}")
    assert (breaking, kinds) == (False, []), "the finding has changed"
breaking, kinds = found(lambda c: c["amount"].update(required=False))
print(f"{'may be missing now':<20} breaking: {breaking}  changes: {kinds}")
assert (breaking, kinds) == (False, ["additive"]), "the finding has changed"
breaking, kinds = found(lambda c: c["amount"].update(logicalType="string", logicalTypeOptions={}))
assert breaking, "the finding has changed"
PY
"$folder/venv/bin/python" "$folder/diff.py"
