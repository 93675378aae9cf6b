#!/usr/bin/env bash
# `with dsl.If(flag.output == 1)` on a component that answers a bool takes the branch when the answer is False, and skips it when it
# is True: the compiler writes 1 beside a bool as `false`, and 0 as `true`. The graph compiles without a word, on a cluster the same
# expression is evaluated, and a local run says SUCCESS either way. `== True` compiles to `== true`, as it reads.
# Versions: kfp 2.17.0.
# Why it matters: in Python True == 1, so a gate ("register the model if it passed") written so registers the ones that did not pass.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check kfp==2.17.0
cat > "$folder/gate.py" <<'PY'
import os
import sys

import kfp
import yaml
from kfp import compiler, dsl, local

os.chdir(os.path.dirname(os.path.abspath(__file__)))


@dsl.component(install_kfp_package=False)
def passed(score: float) -> bool:
    return score > 0.5


@dsl.component(install_kfp_package=False)
def note(path: str):
    with open(path, "w") as file:
        file.write("x")


@dsl.pipeline(name="gate")
def gate(score: float, one: str, true: str):
    found = passed(score=score)
    with dsl.If(found.output == 1):
        note(path=one)
    with dsl.If(found.output == True):  # noqa: E712
        note(path=true)


compiler.Compiler().compile(gate, "gate.yaml")
with open("gate.yaml") as file:
    tasks = next(yaml.safe_load_all(file))["root"]["dag"]["tasks"]
written = [tasks[f"condition-{n}"]["triggerPolicy"]["condition"].split("== ")[1] for n in (1, 2)]
print("kfp", kfp.__version__, "   == 1 compiles to ==", written[0], "   == True compiles to ==", written[1])
local.init(runner=local.SubprocessRunner(use_venv=False))
for score in (0.9, 0.1):
    one, true = (os.path.abspath(f"{name}-{score}") for name in ("one", "true"))
    gate(score=score, one=one, true=true)
    ran = os.path.exists(one), os.path.exists(true)
    print(f"answer {score > 0.5!s:<6} branch of == 1: {'run' if ran[0] else 'skipped':<8} branch of == True: {'run' if ran[1] else 'skipped'}", flush=True)
    assert ran == (score <= 0.5, score > 0.5), "the finding has changed"
assert written == ["false", "true"], "the finding has changed"
PY
PATH="$folder/venv/bin:$PATH" "$folder/venv/bin/python" -W ignore "$folder/gate.py" 2> "$folder/log" | grep -E "^(kfp|answer) " || { tail -20 "$folder/log"; exit 1; }
