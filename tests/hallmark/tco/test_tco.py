"""What a domain costs: two golden domains with opposite answers, worked out by hand, and how the answer moves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hallmark.cli import main
from hallmark.cli.app import app
from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError, HallmarkError, NotFound
from hallmark.settings import Settings
from hallmark.tco import environment as environments
from hallmark.tco import prices as recorded
from hallmark.tco.assumptions import Assumptions
from hallmark.tco.comparison import Inputs, bills, break_even, compare, sensitivity
from hallmark.tco.environment import Environment
from hallmark.tco.plan import Plan
from hallmark.tco.throughput import Throughput

ROOT = Path(__file__).parents[3]
SETTINGS = Settings.load({"HALLMARK_ROOT": str(ROOT)})
PLAIN = Throughput(rows=100e-6, photos=10e-3, source="a test")
REST = Environment(
    name="test",
    region="us-east-1",
    nat_gateways=1,
    zones=1,
    endpoints=0,
    system_nodes=1,
    system_node="ec2.m6i.large",
    databases=(environments.Database(instance="rds.t4g.medium", zones=1, gigabytes=50),),
    cache="cache.t4g.small",
    cache_nodes=0,
)


def domain(**serving: Any) -> Domain:
    """A small domain without training to speak of: what it serves is what it costs."""
    return Domain.model_validate(
        {
            "name": "golden",
            "owner": {"team": "t", "contact": "c"},
            "description": "d",
            "task": {"kind": "binary"},
            "data": {"entity": "e", "label": "l", "split": "entity"},
            "training": {"schedule": "0 0 3 * * MON", "window": "1d", "timeout": "1h", "cpu": "1", "memory": "1Gi"},
            "gate": {"metric": "roc_auc", "floor": 0.1},
            "serving": {"cpu": "1", "memory": "1Gi", "latency_objective": "200ms", **serving},
            "quota": {"storage": "0Gi", "gpu": 40},
        }
    )


QUIET = domain(traffic={"mean": 0.1, "peak": 1, "payload": "1k"}, replicas={"minimum": 1, "maximum": 2})
"""A request every ten seconds: nothing that stands all month pays for itself."""
BUSY = domain(
    traffic={"mean": 2000, "peak": 3000, "payload": "100k", "work": "photos"}, replicas={"minimum": 2, "maximum": 60}
)
"""Two thousand photos a second: machines by the dozen, and people are the smaller part."""


def inputs(**assumed: Any) -> Inputs:
    return Inputs(
        prices=recorded.read(),
        assumed=Assumptions.model_validate(assumed),
        throughput=PLAIN,
        environment=REST,
        domains=4,
    )


def items(bill: Any) -> dict[str, float]:
    return {line.item: line.monthly for line in bill.lines}


def test_the_quiet_golden_domain_is_cheaper_managed_to_the_cent() -> None:
    house, realtime, serverless, batch = bills(QUIET, inputs())
    # One pod of 1.2 cores and 1.5 GiB: 0.3 of a node of 4, of which 0.85 can be used.
    assert items(house)["serving"] == pytest.approx(730 * 0.3 / 0.85 * 0.192)
    # 120 / 4 and 4 hours of people at 95.
    assert items(house)["people"] == pytest.approx(95 * 34)
    # Control plane, a system node with its disk, one NAT, load balancer and unit, database with disk, 7 keys, a zone, 40 GB of images.
    rest = 73 + (730 * 0.096 + 4) + 730 * 0.045 + 730 * 0.0285 + (730 * 0.065 + 50 * 0.115) + 11.5
    assert items(house)["platform"] == pytest.approx(rest / 4)
    assert items(realtime)["serving"] == pytest.approx(730 * 0.23)
    assert items(realtime)["people"] == pytest.approx(95 * (7 + 30 / 4))
    # 262,800 requests of 20.1 ms and 1 GB.
    assert items(serverless)["serving"] == pytest.approx(262_800 * 0.0201 * 0.00002)
    assert serverless.ready and not batch.ready
    found = compare(QUIET, inputs())
    assert found.cheapest == "serverless"
    assert found.house.total > 2 * found.managed.total


def test_the_busy_golden_domain_is_cheaper_in_house_to_the_cent() -> None:
    house, realtime, serverless, _ = bills(BUSY, inputs(spot=0.5))
    # A core does 100 photos a second and is planned for 60: 34 pods, of which half of those above 2 are on spot at 0.4 of the
    # price, against 9 instances with 3.8 cores for the model.
    assert items(house)["serving"] == pytest.approx((2 + 32 * 0.7) * 730 * 0.3 / 0.85 * 0.192)
    assert items(realtime)["serving"] == pytest.approx(9 * 730 * 0.23)
    gigabytes = 2000 * 730 * 3600 * 100_000 / 1e9
    assert items(realtime)["network"] == pytest.approx(gigabytes * 0.016)
    assert items(house)["network"] == pytest.approx(gigabytes * (0.006 + 0.02 * 0.045))
    assert items(serverless)["serving"] == pytest.approx(2000 * 730 * 3600 * 0.03 * 0.00002)
    assert items(bills(BUSY, inputs())[0])["serving"] == pytest.approx(34 * 730 * 0.3 / 0.85 * 0.192), (
        "no spot by default"
    )
    found = compare(BUSY, inputs())
    assert found.cheapest == "in house"
    assert found.house.total < 0.8 * found.managed.total


def test_the_break_even_is_where_the_two_bills_meet_and_it_stays_so() -> None:
    asked = inputs()
    at = break_even(BUSY, asked)
    assert at is not None

    def saved(rate: float) -> float:
        house, *managed = bills(BUSY, asked, factor=rate / BUSY.serving.traffic.mean)
        return min(bill.total for bill in managed if bill.ready) - house.total

    assert saved(at) > 0 >= saved(at / 1.01)
    assert all(saved(at * more) > 0 for more in (1.001, 1.1, 1.5, 2, 3, 7, 20, 100, 1000))


def test_in_house_can_never_or_always_be_cheaper() -> None:
    dear = inputs(packing=0.01, platform_hours=1e6)
    assert break_even(QUIET, dear) is None
    free = inputs(platform_hours=0, house_hours=0, managed_hours=40)
    assert break_even(BUSY, free.model_copy(update={"domains": 10_000})) == 0.0


def test_a_gpu_is_billed_for_the_hours_that_were_measured() -> None:
    photos = domain(
        traffic={"mean": 1, "peak": 2, "work": "photos", "active": 0.5},
        replicas={"minimum": 0, "maximum": 3},
        gpu=1,
        cpu="3",
        memory="12Gi",
    )
    assumed, measured = (items(bills(photos, inputs(**given))[0])["serving"] for given in ({}, {"gpu_hours": 0.1}))
    assert assumed == pytest.approx(0.5 * 730 * 1.006)
    assert measured == pytest.approx(0.1 * 730 * 1.006)
    house, _, serverless, _ = bills(photos, inputs())
    assert house.ready and not serverless.ready and "no GPU" in serverless.reason


def test_a_peak_over_the_declared_replicas_is_said() -> None:
    small = domain(traffic={"mean": 10, "peak": 1000, "work": "photos"}, replicas={"minimum": 1, "maximum": 2})
    house = bills(small, inputs())[0]
    assert not house.ready
    assert house.reason == "the peak needs 17 replicas, and 2 are declared"


def test_each_swing_moves_the_answer_the_way_it_must() -> None:
    rows = {(each.input, each.change): each for each in sensitivity([BUSY], inputs())}
    assert len(rows) == 6
    assert rows["people's hours", -0.2].difference < rows["people's hours", 0.2].difference
    assert rows["traffic", 0.2].difference < rows["traffic", -0.2].difference
    assert rows["GPU price", 0.2].difference == rows["GPU price", -0.2].difference, "it has no GPU"
    declared = domains.load("authentication", SETTINGS)
    gpu = {(each.input, each.change): each.difference for each in sensitivity([declared], inputs())}
    assert gpu["GPU price", 0.2] != gpu["GPU price", -0.2]


@given(st.floats(0.01, 100), st.floats(1.01, 50))
def test_more_traffic_never_costs_less(low: float, more: float) -> None:
    for each in (QUIET, BUSY):
        before = bills(each, inputs(), factor=low)
        after = bills(each, inputs(), factor=low * more)
        assert all(b.total <= a.total + 1e-9 for b, a in zip(before, after, strict=True))


def test_throughput_is_what_the_benchmark_measured() -> None:
    found = Throughput.read(ROOT / "docs" / "performance.json")
    assert "performance.json" in found.source
    assert 20e-6 < found.rows < 1e-3 and 2e-3 < found.photos < 0.1
    assert "recorded" in Throughput.read(ROOT / "docs" / "no.json").source


@pytest.mark.parametrize("text", ["{", "{}", '{"figures": []}', "[]"])
def test_a_file_that_is_no_benchmark_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "figures.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DeclarationError, match="not a serving benchmark"):
        Throughput.read(path)


def test_every_price_is_used_dated_and_has_its_page() -> None:
    prices = recorded.read()
    assert set(prices.prices) == set(recorded.NEEDED)
    text = recorded.FILE.read_text(encoding="utf-8")
    assert text.count("source: ") == len(prices.prices)
    rooms = [
        path.read_text(encoding="utf-8") for path in (ROOT / "hallmark" / "tco").glob("*.py") if path.stem != "prices"
    ]
    rooms += [path.read_text(encoding="utf-8") for path in (ROOT / "terraform").rglob("*.tf*") if path.is_file()]
    unused = [name for name in prices.prices if not any(name.split(".", 1)[1] in room for room in rooms)]
    assert not unused


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda raw: raw["prices"].pop("nat.data"), "nat.data a GB"),
        (lambda raw: raw["prices"]["nat.data"].update(unit="hour"), "nat.data a GB"),
        (lambda raw: raw["prices"]["nat.data"].update(value=-1), "greater than or equal to 0"),
        (lambda raw: raw["prices"]["nat.data"].pop("source"), "source"),
        (lambda raw: raw.pop("recorded"), "recorded"),
    ],
)
def test_a_wrong_price_file_is_refused_with_what_it_lacks(tmp_path: Path, change: Any, named: str) -> None:
    raw = yaml.safe_load(recorded.FILE.read_text(encoding="utf-8"))
    change(raw)
    path = tmp_path / "prices.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(DeclarationError) as caught:
        recorded.read(path)
    assert named in str(caught.value)


def test_an_unknown_assumption_or_environment_is_refused_with_those_there_are() -> None:
    with pytest.raises(DeclarationError, match="wage"):
        Assumptions().with_changes(["wages=3"])
    with pytest.raises(DeclarationError):
        Assumptions().with_changes(["packing=7"])
    assert Assumptions().with_changes(["gpu_hours=0.4"]).gpu_hours == 0.4
    with pytest.raises(NotFound, match="nowhere"):
        environments.read("nowhere", SETTINGS)


def ran(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["tco", *arguments])
    if isinstance(result.exception, HallmarkError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_the_same_question_has_the_same_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HALLMARK_ROOT", str(ROOT))
    first, second = (ran("-o", "json", "--sensitivity", "fraud", "authentication") for _ in range(2))
    assert first == second
    whole = json.loads(first)
    assert [each["domain"] for each in whole["domains"]] == ["fraud", "authentication"]
    assert len(whole["sensitivity"]) == 12
    for each in whole["domains"]:
        assert [bill["way"] for bill in each["bills"]] == ["in house", "real-time", "serverless", "batch"]
    picture = tmp_path / "new" / "cost.png"
    assert "in house from" in ran("fraud", "listing", "--plot", str(picture), "--lines").lower()
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000


def test_environments_at_rest_rise_from_dev_to_production() -> None:
    totals = {
        name: environments.read(name, SETTINGS).bill(recorded.read()).total for name in environments.names(SETTINGS)
    }
    assert totals["dev"] < totals["staging"] < totals["production"]


def test_both_databases_are_paid_in_every_zone() -> None:
    production = environments.read("production", SETTINGS)
    mlflow, pipelines = 730 * 0.168 + 100 * 0.115, 730 * 0.065 + 50 * 0.115
    assert items(production.bill(recorded.read()))["databases"] == pytest.approx(2 * (mlflow + pipelines))


def test_a_plan_counts_requests_and_bytes_of_a_month() -> None:
    plan = Plan.of(QUIET, PLAIN, Assumptions())
    assert plan.requests == pytest.approx(262_800)
    assert plan.gigabytes == pytest.approx(0.2628)


@pytest.mark.parametrize("names", [("fraud",), ("fraud", "search")])
def test_the_titles_of_the_picture_are_not_cut(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    assert main(["tco", *names, "--plot", str(tmp_path / "costs.png")]) == 0
    (figure,) = figures
    figure.draw_without_rendering()
    titles = [each for each in (figure._suptitle, *(axes.title for axes in figure.axes)) if each.get_text()]  # type: ignore[attr-defined]
    assert len(titles) == 1 + len(names)
    for title in titles:
        place = title.get_window_extent()
        assert place.x0 >= 0 and place.x1 <= figure.bbox.x1, title.get_text()


def test_what_feature_views_need_is_paid_at_rest(tmp_path: Path) -> None:
    """Staging has a Valkey whose size it leaves to the default; each environment a stream for the one source of the declared views."""
    staging, dev = (environments.read(name, SETTINGS) for name in ("staging", "dev"))
    assert (dev.cache_nodes, staging.cache_nodes, staging.cache) == (0, 2, "cache.t4g.small")
    paid = items(staging.bill(recorded.read()))
    assert paid["online store"] == pytest.approx(2 * 730 * 0.0256)
    assert paid["event streams"] == pytest.approx(730 * 0.04 + 20 * 0.08)
    assert paid["VPC endpoints"] == pytest.approx(staging.endpoints * 3 * 730 * 0.01)
    assert paid["keys, names, images"] == pytest.approx(8 + 0.5 + 40 * 0.1)
    for part in ("terraform", "contracts", "domains"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns(".terraform*", "modules/*/tests"))
    without = environments.read("dev", Settings.load({"HALLMARK_ROOT": str(tmp_path)}))
    assert (without.streams, without.keys) == (0, 7), "no view, no stream"
