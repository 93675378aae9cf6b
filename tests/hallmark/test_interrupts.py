"""Signals that end a command: told once, to whoever can clean up, and never with a lock in their handler."""

from __future__ import annotations

import ast
import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hallmark import interrupts
from hallmark.cli import main
from hallmark.errors import HallmarkError
from hallmark.interrupts import Interrupted

ROOT = Path(__file__).parents[2]
PRODUCT = ("hallmark", "local_cluster", "inference_services", "tools", "pipelines", "components")
LOCK_FREE = {
    *("os.kill", "os.write", "os.dup2", "os.open", "time.monotonic", "list", "contextlib.suppress"),
    *("Interrupted", "SystemExit", "_heard.append", "found.append", "any", "each"),
    *("weakref.ref", "sys.exc_info"),
    *(HELPERS := {"_mute", "_stopped", "_swallowed"}),
}
"""All that a handler calls: system calls, and what the interpreter does in one step."""
COMMAND = """
import sys, time
from hallmark import interrupts
with interrupts.handled():
    try:
        print("ready", flush=True)
        time.sleep(60)
    except interrupts.Interrupted as stopped:
        print(stopped, flush=True)
        try:
            {cleaning}
        finally:
            print("cleaned", flush=True)
        sys.exit(stopped.exit_code)
"""
ENDING = """
import sys, time
from hallmark import interrupts
class Slow:
    def __del__(self, sleep=time.sleep, write=sys.stdout.write, flush=sys.stdout.flush):
        write("ending\\n"), flush()
        sleep(0.7)
slow = Slow()
with interrupts.handled(whole=True):
    try:
        print("ready", flush=True)
        time.sleep(60)
    except interrupts.Interrupted as stopped:
        code = stopped.exit_code
sys.exit(code)
"""
WATCH = """
import threading, time
from hallmark import interrupts
event = threading.Event()
def work():
    while not event.wait(0.0001):
        pass
with interrupts.noted() as signals:
    thread = threading.Thread(target=work)
    thread.start()
    print("ready", flush=True)
    while not signals:
        event.is_set()
        time.sleep(0.0001)
    event.set()
    thread.join()
print("ended", flush=True)
"""


def running(program: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_a_signal_while_the_interpreter_ends_changes_nothing() -> None:
    process = running(ENDING)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "ending\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert (process.wait(30), process.communicate()) == (130, ("", ""))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, "stopped by ctrl-c"),
        (signal.SIGTERM, "stopped by SIGTERM"),
        (signal.SIGHUP, "stopped by its terminal, which was closed"),
    ],
)
def test_a_signal_that_comes_three_times_at_once_cleans_up_once(number: signal.Signals, said: str) -> None:
    process = running(COMMAND.format(cleaning="time.sleep(0.5)"))
    for _ in range(3):
        process.send_signal(number)
    assert process.communicate(timeout=30)[0] == f"{said}\ncleaned\n"
    assert process.returncode == 128 + number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_a_command_is_done_leaves_its_exit_code(number: signal.Signals) -> None:
    program = f"""
import os
from hallmark import interrupts
class Last:
    def __del__(self, kill=os.kill, pid=os.getpid()):
        kill(pid, {int(number)})
last = Last()
with interrupts.handled(whole=True):
    print("ready", flush=True)
os.kill(os.getpid(), {int(number)})
"""
    process = running(program)
    _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (0, "")


def test_ctrl_c_pressed_again_ends_a_cleaning_that_hangs() -> None:
    process = running(COMMAND.format(cleaning="time.sleep(60)"))
    process.send_signal(signal.SIGINT)
    time.sleep(interrupts.AGAIN + 0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "stopped by ctrl-c\n")
    assert told == "ctrl-c again: ended at once, and what it has started with it\n"


def test_a_cleaning_that_hangs_ends_after_its_time() -> None:
    program = COMMAND.format(cleaning="__import__('threading').Event().wait()").replace(
        "with", "interrupts.PATIENCE = 0.5\nwith", 1
    )
    process = running(program)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=30)[1]
    assert process.returncode == 143 and "did not end within 0.5 s" in told


SWALLOWED = """
import sys, time
from hallmark import interrupts
class Library:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(60)
with interrupts.handled():
    try:
        {swallowing}
        {rest}
    except interrupts.Interrupted as stopped:
        print(stopped, flush=True)
        sys.exit(stopped.exit_code)
"""
BARE = """try:
            print("ready", flush=True)
            time.sleep(60)
        except:
            pass"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("swallowing", [BARE, "library = Library()\n        del library"], ids=["bare", "destructor"])
def test_b02_an_interruption_that_a_library_swallows_is_raised_again(number: signal.Signals, swallowing: str) -> None:
    process = running(SWALLOWED.format(swallowing=swallowing, rest="time.sleep(60)"))
    process.send_signal(number)
    assert process.communicate(timeout=20)[0].startswith("stopped by")
    assert process.returncode == 128 + number


def test_b02_an_interruption_that_was_swallowed_before_a_loop_ends_it() -> None:
    rest = WATCH[WATCH.index("with") : WATCH.index('print("ended"')].replace('print("ready", flush=True)', "pass")
    program = SWALLOWED.format(swallowing=BARE, rest=textwrap.indent(rest, " " * 8).strip() + '; print("ended")')
    program = program.replace(
        "import sys, time", "import sys, time, threading\ndef work(): event.wait()\nevent = threading.Event()"
    )
    for _ in range(3):
        process = running(program)
        process.send_signal(signal.SIGTERM)
        out, told = process.communicate(timeout=20)
        assert out == "ended\n", told


def test_a_signal_that_was_ignored_from_the_start_is_not_heard() -> None:
    program = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{COMMAND.format(cleaning='pass')}"
    process = running(program)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_b02_two_signals_at_once_always_end_a_loop() -> None:
    for _ in range(20):
        process = running(WATCH)
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
        assert process.communicate(timeout=30)[0] == "ended\n"


def test_what_is_said_after_the_terminal_was_closed_is_no_failure() -> None:
    program = COMMAND.format(cleaning="print('on the way out', flush=True); open(sys.argv[1], 'w').write('cleaned')")
    place = f"/tmp/hallmark-closed-{os.getpid()}"
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program, place], stdin=child, stdout=child, stderr=child, start_new_session=True
    )
    os.close(child)
    assert os.read(parent, 5) == b"ready"
    os.close(parent)
    process.send_signal(signal.SIGHUP)  # as the kernel does where the terminal is the session's own
    try:
        assert process.wait(30) == 129
        assert Path(place).read_text() == "cleaned"
    finally:
        Path(place).unlink(missing_ok=True)


def test_an_interruption_is_found_behind_what_a_library_made_of_it() -> None:
    stopped = Interrupted(signal.SIGTERM)
    stopped.add_note("the cluster goes on")
    stopped.add_note("the training was stopped")
    try:
        try:
            raise stopped
        except KeyboardInterrupt as error:
            raise SystemExit(130) from error
    except SystemExit as ended:
        assert interrupts.cause(ended) is stopped
    assert interrupts.cause(SystemExit(1)) is None
    assert stopped.told() == "stopped by SIGTERM: the cluster goes on; the training was stopped"
    assert stopped.exit_code == 143


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (lambda: RuntimeError("Error calling __set_name__"), ""),
        (lambda: SystemExit(1), ""),
        (lambda: HallmarkError("the cluster does not end"), "failed: the cluster does not end\n"),
    ],
)
def test_a_command_that_a_signal_ended_says_so_whatever_became_of_it(
    error: Callable[[], BaseException], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hallmark.cli import app

    def command(*_: object, **__: object) -> None:
        try:
            raise Interrupted(signal.SIGTERM)
        finally:
            raise error()

    monkeypatch.setattr(app, "made", lambda asked: command)
    assert main([]) == 143
    assert capsys.readouterr().err == f"{told}stopped by SIGTERM\n"


def handlers(tree: ast.Module) -> set[str]:
    """Names of the functions that this module has the interpreter call for a signal."""
    found = set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if ast.unparse(call.func) in ("signal.signal", "_install") and call.args:
            found.add(ast.unparse(call.args[-1]).removeprefix("self."))
    return found - {"signal.SIG_IGN", "signal.SIG_DFL", "handler"}


def calls(function: ast.FunctionDef) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}


def test_no_handler_of_a_signal_calls_what_takes_a_lock() -> None:
    looked_at = set()
    for path in (path for package in PRODUCT for path in (ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name in handlers(tree) | (HELPERS if path.name == "interrupts.py" else set()):
            (function,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name)
            looked_at.add(f"{path.relative_to(ROOT)}:{name}")
            assert calls(function) <= LOCK_FREE, (path, name)
    assert {"hallmark/interrupts.py:_raise", "hallmark/interrupts.py:note"} <= looked_at


def test_a_handler_that_sets_an_event_would_be_found() -> None:
    tree = ast.parse(
        textwrap.dedent("""
        def end(number, frame):
            stop.set()
        signal.signal(signal.SIGTERM, end)
    """)
    )
    assert handlers(tree) == {"end"} and isinstance(tree.body[0], ast.FunctionDef)
    assert not calls(tree.body[0]) <= LOCK_FREE
