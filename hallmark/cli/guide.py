"""Commands in groups, an example each: what `hallmark --help` shows."""

from __future__ import annotations

import typer

GROUPS: dict[str, dict[str, str]] = {
    "Begin": {
        "doctor": "hallmark doctor",
        "demo": "hallmark demo",
        "domains": "hallmark domains fraud",
        "new": "hallmark new rent --task regression --data rents.csv --label rent",
        "open": "hallmark open fraud",
    },
    "Make a model": {
        "check": "hallmark check fraud --data orders.parquet",
        "data": "hallmark data fraud --days 30 --out orders.parquet",
        "train": "hallmark train fraud --until 2026-09-01",
        "tune": "hallmark tune fraud --option learning_rate=0.03..0.1 --tries 20",
        "experiments": "hallmark experiments fraud",
        "compare": "hallmark compare fraud champion 2 --out page.html",
        "versions": "hallmark versions fraud",
        "model-card": "hallmark model-card fraud champion",
        "evaluate": "hallmark evaluate marketing --policy latest --log campaigns.parquet",
        "prompts": "hallmark prompts judge authentication-review --llm http://127.0.0.1:8000",
        "predict": "hallmark predict fraud --data orders.parquet --out scores.parquet",
        "models": "hallmark models push fraud@3 s3://team-models/shared",
        "reset": "hallmark reset fraud --dry-run",
        "gc": "hallmark gc --days 30 --dry-run",
        "search": 'hallmark search "red wool coat size M"',
    },
    "Serve it": {
        "up": "hallmark up",
        "down": "hallmark down",
        "release": "hallmark release fraud --candidate 2 --percent 10",
        "promote": 'hallmark promote fraud --why "two days without a complaint"',
        "rollback": 'hallmark rollback fraud --why "p99 doubled"',
        "status": "hallmark status",
        "call": "hallmark call fraud --requests 1000",
        "decision": "hallmark decision seal authentication",
        "decide": "hallmark decide authentication --llm stand-in",
        "apply": "hallmark apply fraud",
        "settle": "hallmark settle fraud",
        "render": "hallmark render --check",
    },
    "Watch it": {
        "watch": "hallmark watch fraud",
        "timeline": "hallmark timeline fraud --follow",
        "drift": "hallmark drift fraud --html report.html",
        "labels": "hallmark labels fraud labels.csv",
        "captures": "hallmark captures marketing --out captured.parquet",
        "reviews": "hallmark reviews page --as ana",
        "explain": "hallmark explain 7d1f9c",
        "logs": "hallmark logs fraud",
        "drill": "hallmark drill fraud",
        "ui": "hallmark ui",
    },
    "Platform": {
        "lint": "hallmark lint",
        "features": "hallmark features list",
        "contracts": "hallmark contracts list",
        "pipeline": "hallmark pipeline submit fraud --wait",
        "tco": "hallmark tco",
    },
}
"""The example of each command, by its group. What is not here stands at the end, without one."""


def arrange(app: typer.Typer) -> None:
    """Put the commands of the application into their groups, in the order above, and their examples below their help."""
    for panel, examples in GROUPS.items():
        for command in app.registered_commands:
            name = name_of(command)
            if name in examples:
                command.rich_help_panel = panel
                command.epilog = f"Example: {examples[name]}"
        for group in app.registered_groups:
            name = str(group.typer_instance.info.name) if group.typer_instance else ""
            if name in examples:
                group.rich_help_panel = panel
                group.epilog = f"Example: {examples[name]}"
    order = [name for examples in GROUPS.values() for name in examples]
    app.registered_commands.sort(
        key=lambda each: order.index(found) if (found := name_of(each)) in order else len(order)
    )


def name_of(command: typer.models.CommandInfo) -> str:
    """The name that a command goes by."""
    return command.name or (command.callback.__name__.replace("_", "-") if command.callback else "")
