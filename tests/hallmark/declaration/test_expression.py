"""SQL of views: what is taken, of which types, and what is refused with the reason and the fix."""

from __future__ import annotations

import json

import pytest

from hallmark.declaration.expression import Expression, Unsuited, datatype, meaning, parsed
from hallmark.declaration.feature_view import Column
from hallmark.declaration.source import Datatype
from tests.hallmark.feature_store.sql_meanings import DRAWN, MEANINGS, ORDERS

TYPES: dict[str, Datatype] = {
    **{"amount": "FP64", "rate": "FP64", "items": "INT64", "card": "BYTES", "paid": "BOOL", "at": "TIME", "known": "TIME"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("amount * random()", "RANDOM()"),
        ("now()", "NOW()"),
        ("amount + current_date", "CURRENT_DATE"),
        ("sum(amount)", "SUM(amount)"),
        ("sum(amount) over ()", "OVER ()"),
        ("amount - lag(amount) over (order by at)", "OVER (ORDER BY at)"),
        ("(select max(amount) from orders)", "SELECT"),
        ("amount in (select 1)", "SELECT"),
        ("orders.amount + 1", "orders.amount"),
        ("card like '%x'", "LIKE"),
        ("read_text(card)", "READ_TEXT(card)"),
        ("getvariable('x') + amount", "GETVARIABLE('x')"),
        ("at + interval 1 day", "INTERVAL"),
        ("amount as more", "AS more"),
        ("lower(distinct card)", "DISTINCT"),
        ("$1 + amount", "$1"),
        ("hour(at)", "HOUR(at)"),
        ("amount; card", "'amount; card'"),
        ("amount *", "'amount \\*'"),
        ("3 + 4", "always the same"),
        ("amount", "a column alone"),
        ("a" * 2001, "2001"),
    ],
)
def test_what_is_no_expression_of_a_row_is_refused(text: str, got: str) -> None:
    with pytest.raises(ValueError, match=r"^expected .*; got ") as refused:
        parsed(text)
    assert got.replace("\\", "") in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("amount + card", '"card" is a text: cast it to bigint or double'),
        ("paid + 1", '"paid" is a condition: cast it'),
        ("at - known", "EPOCH_US gives microseconds"),
        ("card = 1", "compares unlike values"),
        ("paid = paid is null", "put that in parentheses"),
        ("paid <> items > 1", "put that in parentheses"),
        ("case when paid then items else card end", "gives unlike values"),
        ("items and paid", "not a condition: compare it"),
        ("amount // 2", "is of whole numbers"),
        ("cast(amount as int)", "cast to bigint, double or varchar"),
        ("cast(at as varchar)", "use EPOCH_US or DATE_PART"),
        ("date_part('epoch', at)", "name one of year"),
        ("date_part('hour', card)", "name a column that is a time"),
        ("paid is true", "write IS NULL, or the condition alone"),
        ("amount = null", "write IS NULL"),
        ("amount in (rate)", "has no list of values"),
        ("trim(card, 'x')", "use REPLACE"),
        ("substring(card, -1, 2)", "from 1"),
        ("items + 9223372036854775808", "write 9223372036854775808.0"),
        ("amount + 1e300", "write a smaller number"),
        ("round(amount, items)", "write a number from 0 to 15"),
        ("lower(items)", "cast it to varchar"),
        ("greatest(paid, paid)", "use AND or OR"),
        ("case when paid then null end", "is always null"),
    ],
)
def test_what_has_no_value_over_these_types_is_refused(text: str, words: str) -> None:
    with pytest.raises(Unsuited) as refused:
        datatype(parsed(text), TYPES)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("amount * rate", "FP64"),
        ("items * 2", "INT64"),
        ("items / 2", "FP64"),
        ("lower(card)", "BYTES"),
        ("amount > items", "BOOL"),
        ("paid = (paid is null)", "BOOL"),
        ("greatest(at, known)", "TIME"),
        ("date_part('hour', at)", "INT64"),
        ("case when paid then amount else 0 end", "FP64"),
    ],
)
def test_a_type_is_what_duckdb_says(text: str, kind: str) -> None:
    assert datatype(parsed(text), TYPES) == kind


def test_spaces_comments_and_capitals_make_no_other_expression() -> None:
    one = parsed("CASE WHEN Card='m' THEN amount*2 END -- of one card")
    assert one == parsed("case when card = 'm'\n then (amount * 2) end".replace("(", "").replace(")", ""))
    assert one == Expression("""CASE WHEN "card" = 'm' THEN "amount" * 2 END""", ("amount", "card"))
    assert parsed("amount * 2") != parsed("amount * 3")


@pytest.mark.parametrize("names", [ORDERS, DRAWN], ids=["orders", "drawn"])
def test_a_text_that_was_read_is_read_as_itself(names: dict[str, str]) -> None:
    """sqlglot's next version has to write these as this one does, or views would have other digests."""
    for each in MEANINGS:
        one = parsed(each.sql.format_map(names))
        assert parsed(one.text) == one


def test_what_was_read_once_is_read_again_without_a_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    column = Column.model_validate({"take": "sum", "sql": "amount * rate", "where": "paid or items > 1"})
    kept = column.model_dump_json()
    monkeypatch.setattr("hallmark.declaration.expression.parsed", pytest.fail)
    assert Column.model_validate(json.loads(kept)) == column
    assert column.term == '"amount" * "rate"' and column.allowed == {'"paid" OR "items" > 1': True}


def test_a_column_without_sql_is_written_as_before_there_was_any() -> None:
    column = Column.model_validate({"take": "sum", "of": "amount", "where": {"text": "a", "columns": ("b", "c")}})
    assert "sql" not in column.model_dump(mode="json") and column.allowed == {"text": "a", "columns": ("b", "c")}


@pytest.mark.parametrize("engine", ["spark", "snowflake", "flink"])
@pytest.mark.parametrize(
    "text",
    [
        "lower(card)",
        "cast(card as double)",
        "items // 2",
        "date_part('hour', at)",
        "round(amount)",
        "greatest(at, known)",
    ],
)
def test_what_another_engine_gives_otherwise_is_refused_there(engine: str, text: str) -> None:
    with pytest.raises(Unsuited, match=f"(?i)is not the same on {engine}: let DuckDB compute this view"):
        meaning(parsed(text), TYPES, str, engine)  # type: ignore[arg-type]


def test_flink_takes_no_whole_number_that_may_wrap_and_no_comparison_of_what_may_be_no_number() -> None:
    for text in ("items * 2", "-items", "amount * rate > 1"):
        with pytest.raises(Unsuited, match="Flink"):
            meaning(parsed(text), TYPES, str, "flink")
    assert "rate" in meaning(parsed("amount * rate"), TYPES, str, "flink")[0]
