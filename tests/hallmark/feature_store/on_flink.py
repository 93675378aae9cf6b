"""Runs Flink SQL scripts on a PyFlink of its own environment: `python on_flink.py SCRIPT…`, each to its end; no module of ours is there."""

import sys
from pathlib import Path

from pyflink.table import EnvironmentSettings, TableEnvironment


def statements(text: str) -> list[str]:
    """The statements of a script; a statement set, with those in it, is one."""
    found = [each.strip() for each in text.split(";\n\n")]
    return [each.rstrip(";\n") if not each.startswith("EXECUTE") else each for each in found if each]


def run(script: Path) -> None:
    """Run a script whose sources end, until all that it writes is there."""
    tables = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    options = {"parallelism.default": "1", "execution.checkpointing.interval": "1 s"}
    for name, value in options.items():
        tables.get_config().set(name, value)
    for statement in statements(script.read_text(encoding="utf-8")):
        if statement.startswith("SET "):
            name, value = (each.strip().strip("'") for each in statement.removeprefix("SET ").split(" = "))
            tables.get_config().set(name, value)
        else:
            tables.execute_sql(statement).wait()


if __name__ == "__main__":
    for each in sys.argv[1:]:
        run(Path(each))
