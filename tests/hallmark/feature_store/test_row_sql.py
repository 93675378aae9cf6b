"""Views with SQL: offline, as a stream, filled again and after a kill they give what the same SQL means in Python."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from hallmark.declaration import source
from hallmark.declaration.feature_view import FeatureView
from hallmark.declaration.view_types import faults, term_types, view_types
from hallmark.errors import DeclarationError
from hallmark.feature_store import feast, page
from hallmark.feature_store.flink import Job, refusal
from hallmark.feature_store.stream import encoded
from hallmark.feature_store.tiles import Plan
from hallmark.render import flink
from hallmark.settings import Settings
from tests.hallmark.feature_store import offline_cases as cases
from tests.hallmark.feature_store import shop as shops
from tests.hallmark.feature_store.drawn import BUYERS, TYPES, view
from tests.hallmark.feature_store.kept import Online
from tests.hallmark.feature_store.sql_meanings import DRAWN, FITTING, MEANINGS
from tests.hallmark.feature_store.test_offline import answered
from tests.hallmark.feature_store.test_stream import SCHEMA, Memory, drain, holds, job
from tests.hallmark.feature_store.test_tiles import row, us

ROOT = Path(__file__).parents[3]


def every(**more: Any) -> dict[str, Any]:
    """A column for every SQL that has a meaning, each with one of the aggregates that take it."""
    found = {}
    for number, each in enumerate(MEANINGS):
        takes = [take for take, kinds in FITTING.items() if each.kind in kinds]
        found[f"c{number}"] = {"take": takes[number % len(takes)], "sql": each.sql.format_map(DRAWN), **more}
    return found


@pytest.mark.parametrize("crowd", [0, 2_000_000])
def test_every_sql_is_offline_what_it_means(crowd: int) -> None:
    one = cases.every_sql()
    assert not cases.differences(one.expected(), answered(one, crowd=crowd), one)


def given(count: int) -> list[dict[str, Any]]:
    draw = random.Random(7)
    return [
        row(
            n, n * 70, delay=n % 3, buyer=BUYERS[n % 3], card=draw.choice((None, "", "x", "y", "v1")),
            amount=draw.choice((None, 0, 1, 2, 3, -3, 2**61, -(2**58))), price=draw.choice((None, 0.0, 2.5, -0.125, 7.0)),
            gift=draw.choice((None, True, False)),
        )
        for n in range(count)
    ]  # fmt: skip


def test_every_sql_is_on_the_stream_what_it_means_and_a_backfill_leaves_the_same(tmp_path: Path) -> None:
    """In batches that a restart cuts, and with a correction that changes what the SQL gives."""
    declared, rows = view(every(window="1h"), ttl=7200), given(60)
    rows.append({**rows[50], "price": 9.0, "amount": 4, "known": rows[-1]["known"]})
    at, streamed, filled = rows[-1]["known"] + timedelta(seconds=1), Online(), Online()
    log = Memory([encoded(each) for each in rows])
    with closing(job(tmp_path / "streamed", log, streamed, declared)) as stream:
        stream.step(17)
    with closing(job(tmp_path / "streamed", log, streamed, declared)) as stream:
        drain(stream, 17)
    with closing(job(tmp_path / "filled", Memory(), filled, declared)) as stream:
        stream.fill(pa.Table.from_pylist(rows, SCHEMA), as_of=us(at))
    for store in (streamed, filled):
        holds(declared, rows, store, at)


def test_sql_is_part_of_a_views_version_as_it_is_meant() -> None:
    def digest(sql: str) -> bytes:
        return Plan(view({"s": {"take": "sum", "sql": sql}}, ttl=60), TYPES).digest

    assert digest("price*amount") == digest("PRICE * amount -- the same") != digest("price * amount * 1")


def test_what_the_repository_is_told_is_enough_for_a_server() -> None:
    """The types of SQL come with the view, so that a server asks no engine for them."""
    contract = source.load("orders@1", Settings.load({"HALLMARK_ROOT": str(ROOT)}))
    declared = FeatureView.model_validate(documented())
    types = term_types(declared, contract)
    assert set(types) == {*declared.reads, *(each.text for each in declared.expressions)}
    assert types['"amount" * (1 - "discount")'] == "FP64"


def documented() -> dict[str, Any]:
    """The columns that docs/features.md shows, in a view of orders."""
    page = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(columns:\n.*?sql: .*?)```", page, re.DOTALL)
    raw = yaml.safe_load((ROOT / "features" / "buyer_orders" / "v1.yaml").read_text(encoding="utf-8"))
    return {**raw, "name": "buyer_spending", "columns": yaml.safe_load(shown)["columns"]}


def test_the_example_of_the_documentation_is_what_orders_give() -> None:
    contract = source.load("orders@1", Settings.load({"HALLMARK_ROOT": str(ROOT)}))
    declared = FeatureView.model_validate(documented())
    assert not list(faults(declared, contract))
    assert view_types(declared, contract) == {
        "paid_30d": "FP64", "night_orders_30d": "INT64", "night_share_30d": "FP64", "orders_30d": "INT64",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ({"take": "sum", "sql": "amount || card"}, "takes texts"),
        ({"take": "sum", "sql": "upper(card)"}, "a number"),
        ({"take": "count", "where": "amount + 1"}, "is no condition"),
        ({"take": "sum", "sql": "absent * 2"}, "absent"),
    ],
)
def test_a_plan_of_what_has_no_value_is_refused(column: dict[str, Any], words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        Plan(view({"x": column}, ttl=60), TYPES)


def test_flink_gets_sql_that_it_computes_alike_and_says_why_it_gets_no_other() -> None:
    declared = view({"paid": {"take": "sum", "sql": "price / 2", "where": "card = 'x' or gift"}}, ttl=3600)
    script = Job(declared, TYPES).script({"connector": "filesystem"}, {"connector": "filesystem"})
    assert not refusal(declared, TYPES) and "AS d0" in script and "e.d1" in script.replace("d0", "d1")
    other = view({"shops": {"take": "distinct", "sql": "lower(card)"}}, ttl=3600)
    assert "LOWER" in refusal(other, TYPES)
    with pytest.raises(DeclarationError, match="Flink cannot compute its SQL") as refused:
        Job(other, TYPES)
    assert "features run" in refused.value.fix


def test_parity_recomputes_sql_and_names_why_it_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the log to the server's lookup, and again from the offline store."""
    columns: dict[str, Any] = {
        "orders_1h": {"take": "count", "where": "amount > 5 and payment = 'card'", "window": "1h"},
        "spent_30d": {"take": "sum", "sql": "amount * (1 - discount) + 1", "window": "30d"},
        "last_amount": {"take": "last", "sql": "amount / nullif(shipping_distance_km, 0)"},
    }
    monkeypatch.setitem(shops.DECLARED, "columns", columns)
    shop = shops.Shop(tmp_path)
    shop.ingest(
        shop.order(1, "anna", ago=20 * shops.MINUTE, amount=4.0),
        shop.order(2, "anna", ago=9 * shops.MINUTE, amount=25.0),
    )
    shop.run()
    told = shop.ask("anna", "nobody")
    assert not shop.causes(told)
    served = {each.column: each.served for each in shop.judged(told) if each.entity == "anna"}
    assert served == {"orders_1h": 1, "spent_30d": 31.0, "last_amount": 2.0}
    shop.ingest(shop.order(3, "anna", ago=shops.MINUTE, amount=6.0))
    assert shop.causes(shop.ask("anna")) == {"orders_1h": "late", "spent_30d": "late", "last_amount": "late"}


def test_a_server_reads_values_of_sql_with_neither_parser_nor_engine() -> None:
    """Its image has neither: the view comes read, with the types of what its SQL gives."""
    declared = view({"s": {"take": "sum", "sql": "price * amount", "where": "card = 'x'"}}, ttl=60)
    plan = Plan(declared, TYPES)
    kept = [declared.model_dump_json(), json.dumps(dict(zip(plan.terms, plan.term_types, strict=True)))]
    program = (
        "import json, sys\n"
        "from hallmark.declaration.feature_view import FeatureView\n"
        "from hallmark.feature_store.payload import Payload\n"
        "from hallmark.feature_store.tiles import Plan\n"
        "plan = Plan(FeatureView.model_validate_json(sys.argv[1]), json.loads(sys.argv[2]))\n"
        "assert Payload(plan).nothing == (0,)\n"
        "print(plan.digest.hex(), sorted({'duckdb', 'sqlglot'} & {*sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *kept], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == [plan.digest.hex(), "[]"]


def test_pages_and_feast_show_the_sql() -> None:
    declared = FeatureView.model_validate(documented())
    assert page._computed(declared.columns["paid_30d"]) == 'sum of "amount" * (1 - "discount")'
    assert page._computed(declared.columns["night_orders_30d"]).startswith("count of events, where DATE_PART('hour', ")
    assert feast._told(declared, "paid_30d")["tags"] == {
        "take": "sum",
        "sql": '"amount" * (1 - "discount")',
        "window": "30d",
    }
    assert feast._told(declared, "night_orders_30d")["tags"]["where"].startswith("DATE_PART('hour', ")


def test_no_flink_job_is_rendered_of_what_flink_computes_otherwise(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("domains", "inference_services"):
        (root / name).mkdir(parents=True)
    for name, columns in (("nightly", documented()["columns"]), ("paid", {"s": {"take": "sum", "sql": "amount / 2"}})):
        (root / "features" / name).mkdir(parents=True)
        declared = {**documented(), "name": name, "columns": columns}
        (root / "features" / name / "v1.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
    (root / "contracts").symlink_to(ROOT / "contracts")
    (root / "manifests" / "features" / "flink").mkdir(parents=True)
    files = flink.files(Settings.load({"HALLMARK_ROOT": str(root)}), ())
    assert sorted(path.name for path in files) == ["kustomization.yaml", "paid-v1.yaml"]


def test_a_row_that_a_backfill_refuses_is_shown(tmp_path: Path) -> None:
    rows = [row(1, 0, card="ü"), {**row(2, 5, card="x"), "known": None}]
    with closing(job(tmp_path, Memory(), Online())) as stream:
        stream.fill(pa.Table.from_pylist(rows, SCHEMA), as_of=us(row(3, 9999)["known"]))
    (letter, *_) = map(json.loads, (tmp_path / "dead_letters-0.jsonl").read_text(encoding="utf-8").splitlines())
    shown = json.loads(letter["row"])
    assert (shown["order"], shown["card"], shown["known"]) == (2, "x", None) and shown["happened"].startswith(
        "2026-03-01T"
    )
