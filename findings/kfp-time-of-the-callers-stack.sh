#!/usr/bin/env bash
# Building a pipeline takes kfp longer the deeper the Python stack of whoever calls it: every setting of every task (set_cpu_limit,
# set_env_variable, add_node_selector, …) calls inspect.stack(), which reads the source of every frame below it. A graph of
# twelve tasks that compiles in a moment from a script takes many times as long from within a test runner, a notebook or a web handler.
# Versions: kfp 2.17.0, kfp-kubernetes 2.17.0.
# Why it matters: test suites that compile graphs spend most of their time in it. A thread has a stack of its own, so compiling in a
# new thread is as quick as from a script.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check kfp==2.17.0 kfp-kubernetes==2.17.0
cat > "$folder/graph.py" <<'PY'
import threading
import time

import kfp
from kfp import compiler, dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def step(number: int) -> int:
    return number


def build():
    @dsl.pipeline(name="twelve")
    def twelve():
        for number in range(12):
            task = step(number=number)
            for name in range(12):
                task.set_env_variable(f"NAME_{name}", "value")
            task.set_cpu_request("1").set_cpu_limit("1").set_memory_request("1Gi").set_memory_limit("1Gi")

    return twelve


def compile_once() -> float:
    began = time.process_time()
    compiler.Compiler().compile(build(), __file__.replace("graph.py", "graph.yaml"))
    return time.process_time() - began


def deeper(frames: int) -> float:
    return compile_once() if not frames else deeper(frames - 1)


def in_a_thread() -> float:
    found = []
    thread = threading.Thread(target=lambda: found.append(compile_once()))
    thread.start()
    thread.join()
    return found[0]


def threaded(frames: int) -> float:
    return in_a_thread() if not frames else threaded(frames - 1)


compile_once()
flat = min(deeper(0) for _ in range(3))
deep = min(deeper(60) for _ in range(3))
apart = min(threaded(60) for _ in range(3))
print("kfp", kfp.__version__)
print(f"from a script:                  {flat:.2f} s of CPU")
print(f"60 frames deeper:               {deep:.2f} s of CPU, {deep / flat:.1f} times")
print(f"60 frames deeper, in a thread:  {apart:.2f} s of CPU")
assert deep > 1.5 * flat, "the stack no longer matters: the finding is gone"
assert apart < 1.5 * flat, "a thread of its own no longer helps: the finding has changed"
PY
"$folder/venv/bin/python" -W ignore "$folder/graph.py"
