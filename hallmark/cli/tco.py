"""Cost of each domain in house and on managed endpoints, with the traffic at which they are equal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli.console import Format, Output, emit, machine, say, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hallmark.tco.comparison import Comparison, Inputs, Swing


def tco(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[DOMAIN]...", help="Default: every one.", show_default=False)
    ] = None,
    environment: Annotated[
        str, typer.Option(help="Whose platform is shared: a file of terraform/environments.")
    ] = "production",
    at_rest: Annotated[
        bool, typer.Option("--at-rest", help="What each environment costs a month before the first request.")
    ] = False,
    lines: Annotated[bool, typer.Option("--lines", help="Every bill, line by line.")] = False,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Traffic, GPU price and people's hours, each 20 % lower and higher.")
    ] = False,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Another assumption; --assumptions lists them.", show_default=False
        ),
    ] = None,
    assumptions: Annotated[bool, typer.Option("--assumptions", help="List what is assumed, and why.")] = False,
    prices: Annotated[
        Path | None, typer.Option(help="Another price file; default: the recorded one.", show_default=False)
    ] = None,
    benchmark: Annotated[
        Path | None,
        typer.Option(help="The serving benchmark's JSON; default: docs/performance.json.", show_default=False),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw cost against requests a second to this PNG.", show_default=False)
    ] = None,
    output: Output = Format.table,
) -> None:
    """Compare the monthly cost of each domain in house and on managed endpoints, and find the traffic where they are equal.

    Prices are list prices, recorded with date and source; throughput is what the serving benchmark measured. The answer to the same
    inputs is always the same. Measured GPU use goes in by `--set gpu_hours=0.4`.
    """
    from hallmark.declaration import domain as declared
    from hallmark.settings import Settings
    from hallmark.tco import environment as environments
    from hallmark.tco import prices as recorded
    from hallmark.tco.assumptions import Assumptions
    from hallmark.tco.comparison import Inputs, compare
    from hallmark.tco.comparison import sensitivity as swings
    from hallmark.tco.throughput import Throughput

    settings = Settings.load()
    assumed = Assumptions().with_changes(change or [])
    if assumptions:
        fields = Assumptions.model_fields
        emit(
            [
                {"key": key, "value": value, "what": fields[key].description}
                for key, value in assumed.model_dump().items()
            ],
            output,
        )
        return
    price = recorded.read(prices)
    if at_rest:
        say(f"list prices of {price.recorded}, {price.region}")
        _at_rest([environments.read(each, settings).bill(price) for each in environments.names(settings)], output)
        return
    everything = [declared.load(name, settings) for name in declared.names(settings)]
    wanted = [declared.load(name, settings) for name in names] if names else everything
    inputs = Inputs(
        prices=price,
        assumed=assumed,
        throughput=Throughput.read(benchmark or settings.root / "docs" / "performance.json"),
        environment=environments.read(environment, settings),
        domains=len(everything),
    )
    compared = [compare(domain, inputs) for domain in wanted]
    moved = list(swings(wanted, inputs)) if sensitivity else []
    if output is Format.table:
        _table(compared, inputs, lines=lines)
        if moved:
            emit([_swing(each) for each in moved], output, title="\na fifth lower and higher, each alone")
    else:
        show(_whole(compared, moved, inputs), output)
    if plot is not None:
        from hallmark.tco import plot as drawing

        drawing.draw(wanted, compared, inputs, plot)
        say(f"plot: {plot}")


def _table(compared: Sequence[Comparison], inputs: Inputs, *, lines: bool) -> None:
    rows = [
        {
            "domain": each.domain,
            "requests/s": each.mean,
            **{bill.way: _cost(bill.total, ready=bill.ready) for bill in each.bills},
            "cheapest": each.cheapest,
            "in house from": _break_even(each.break_even),
        }
        for each in compared
    ]
    if len(compared) > 1:
        rows.append(
            {
                "domain": "all",
                "requests/s": sum(each.mean for each in compared),
                "in house": _cost(sum(each.house.total for each in compared), ready=True),
                "cheapest": f"managed, each its best: {sum(each.managed.total for each in compared):,.0f}",
            }
        )
    wide = ("requests/s", "in house from")
    emit(rows, Format.table, title=f"{inputs.prices.currency} a month", wide=wide)
    say(
        f"list prices of {inputs.prices.recorded}, {inputs.prices.region}; throughput: {inputs.throughput.source};"
        f" platform: {inputs.environment.name}, shared by {inputs.domains} domains"
    )
    if inputs.environment.region != inputs.prices.region:
        say(f"{inputs.environment.name} is in {inputs.environment.region}: give that region's prices with --prices")
    notes = {(each.domain, bill.way, bill.reason) for each in compared for bill in each.bills if bill.reason}
    if notes:
        say("* does not keep what the domain declares:")
    for domain, way, reason in sorted(notes):
        if way != "batch":
            say(f"  {domain}, {way}: {reason}")
    if any(way == "batch" for _, way, _ in notes):
        say("  batch: answers come the next day")
    if lines:
        detailed = [
            {
                "domain": each.domain,
                "way": bill.way,
                "item": line.item,
                "a month": round(line.monthly, 2),
                "how": line.how,
            }
            for each in compared
            for bill in each.bills
            for line in bill.lines
        ]
        emit(detailed, Format.table, title="\nline by line")


def _at_rest(bills: Sequence[Any], output: Format) -> None:
    items = [line.item for line in bills[0].lines] if bills else []
    rows = [
        {
            "environment": bill.way,
            **{item: round(next(x.monthly for x in bill.lines if x.item == item), 2) for item in items},
            "total": round(bill.total, 2),
        }
        for bill in bills
    ]
    emit(rows, output, title="USD a month at rest" if output is Format.table else "", empty="no environment")


def _whole(compared: Sequence[Comparison], moved: Sequence[Swing], inputs: Inputs) -> dict[str, Any]:
    domains = []
    for each in compared:
        shown = each.model_dump(mode="json") | {"cheapest": each.cheapest}
        for bill, found in zip(shown["bills"], each.bills, strict=True):
            bill["total"] = round(found.total, 2)
        domains.append(shown)
    whole: dict[str, Any] = {
        "recorded": str(inputs.prices.recorded),
        "region": inputs.prices.region,
        "currency": inputs.prices.currency,
        "throughput": inputs.throughput.model_dump(mode="json"),
        "environment": inputs.environment.model_dump(mode="json"),
        "assumed": inputs.assumed.model_dump(mode="json"),
        "domains": domains,
    }
    return whole | ({"sensitivity": [machine(_swing(each)) for each in moved]} if moved else {})


def _swing(each: Swing) -> dict[str, Any]:
    return {
        "domain": each.domain,
        "input": each.input,
        "change": f"{each.change:+.0%}",
        "in house less managed": round(each.difference),
        "cheapest": each.cheapest,
        "in house from": _break_even(each.break_even),
    }


def _cost(total: float, *, ready: bool) -> str:
    return f"{total:,.0f}" + ("" if ready else " *")


def _break_even(rate: float | None) -> str:
    if rate is None:
        return "never"
    return "always" if not rate else f"{rate:,.3g}/s"
