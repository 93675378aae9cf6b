#!/usr/bin/env bash
# fakesnow 0.12.1 asks for any snowflake-connector-python, so pip installs 5.2.0 beside it, and then `import fakesnow` fails: modules that
# it imports (snowflake.connector.converter, .file_util) are gone in 5. With a connector below 5 the same fakesnow works.
# Versions: fakesnow 0.12.1, snowflake-connector-python 5.2.0 and 4.8.1.
# Why it matters: a project that declares connector 5 has tests against Snowflake that cannot start; fakesnow needs an environment of its own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
cat > "$folder/try.py" <<'PY'
import sys
from importlib.metadata import version

try:
    import fakesnow
    import snowflake.connector

    with fakesnow.patch():
        cursor = snowflake.connector.connect(database="d", schema="s").cursor()
        got = f"works: {cursor.execute('select 1').fetchall()}"
except ModuleNotFoundError as error:
    got = str(error)
print("fakesnow", version("fakesnow"), "  connector", version("snowflake-connector-python"), "  ", got)
assert got.startswith(sys.argv[1]), "the finding has changed"
PY
for pair in "5.2.0|No module named 'snowflake.connector." "4.8.1|works"; do
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check fakesnow==0.12.1 "snowflake-connector-python==${pair%%|*}"
    "$folder/venv/bin/python" -W ignore "$folder/try.py" "${pair#*|}"
done
