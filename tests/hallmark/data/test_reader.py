"""The reader of what users bring: exact values, or a refusal that names rows, lines and the key of data.yaml that would read them."""

from __future__ import annotations

import bz2
import gzip
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from domains.fraud import data
from domains.fraud.synthetic import orders
from hallmark.cli import main
from hallmark.data import contract, csv_file, table
from hallmark.data.exact import exact
from hallmark.data.reading import ReadingOptions
from hallmark.errors import ContractBroken, DeclarationError, HallmarkError
from hallmark.features.fields import Field

KINDS = {"id": "BYTES", "n": "INT64", "x": "FP64", "yes": "BOOL", "at": table.TIME}
FRAME = pd.DataFrame(
    {
        "id": ["007", "8"],
        "n": [1, -2],
        "x": [23.45, 0.1],
        "yes": [True, False],
        "at": pd.to_datetime(["2026-09-01T00:00:00.000001Z", "2026-09-02T10:00:00Z"], format="ISO8601").astype(
            "datetime64[us, UTC]"
        ),
    }
)


def options(folder: Path, **keys: Any) -> None:
    (folder / "data.yaml").write_text(yaml.safe_dump(keys))


def text(folder: Path, *lines: str, name: str = "a.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path


def same(found: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found[list(FRAME.columns)], FRAME)


def refused(source: Path, kinds: dict[str, str] = KINDS) -> HallmarkError:
    with pytest.raises(HallmarkError) as caught:
        table.read(source, kinds)
    return caught.value


@pytest.mark.parametrize(
    "lines",
    [
        ["x,y,amount", "1,2,23,45", "3,4,142,72"],
        ["x,amount", "1,23,45", "2,142,72"],
        ["x,amount", "1,23", "2,142,72", "3"],
        ["x,amount", "1,2,", "3,4,"],
    ],
)
def test_b01_a_row_that_is_longer_or_shorter_than_the_header_is_refused_with_its_line(
    tmp_path: Path, lines: list[str]
) -> None:
    told = refused(text(tmp_path, *lines), {"x": "FP64", "amount": "FP64"})
    first = next(place for place, line in enumerate(lines, start=1) if line.count(",") != lines[0].count(","))
    assert "a row has more or fewer values than the header" in told.message
    assert told.got.startswith(f"a.csv:{first} has ") and "in quotes" in told.fix


@pytest.mark.parametrize(("digits", "scale"), [(3, 3), (38, 38), (20, 10), (38, 0)])
def test_whole_decimals_of_any_scale_are_whole_numbers(digits: int, scale: int) -> None:
    """Also where the type has no place before the point."""
    least = Decimal(1).scaleb(-scale)
    numbers = [Decimal(0), None, least if scale else Decimal(7)]
    found, bad = exact(pa.array(numbers, pa.decimal128(digits, scale)), "INT64", ReadingOptions())
    assert found.to_pylist() == [0, None, None if scale else 7] and (bad.to_pylist() if bad else None) == (
        [False, False, True] if scale else None
    )


def test_b15_decimals_whole_numbers_and_small_booleans_of_parquet_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {
        "id": pa.array([7, 2**62 + 1], pa.int64()),
        "n": pa.array([Decimal("39.00"), Decimal("-1.00")], pa.decimal128(10, 2)),
        "x": pa.array([Decimal("23.45"), Decimal("142.72")], pa.decimal128(38, 2)),
        "yes": pa.array([1, 0], pa.int8()),
        "at": pa.array([date(2026, 9, 1), date(2026, 9, 2)]),
    }
    pq.write_table(pa.table(columns), path)
    assert "`timezone: UTC` (at)" in refused(path).fix
    options(tmp_path, timezone="Europe/Berlin")
    found = table.read(path, KINDS)
    assert found.to_dict("list") == {
        "id": ["7", str(2**62 + 1)],
        "n": [39, -1],
        "x": [23.45, 142.72],
        "yes": [True, False],
        "at": [pd.Timestamp("2026-08-31T22:00Z"), pd.Timestamp("2026-09-01T22:00Z")],
    }


def test_b25_the_index_of_a_pandas_frame_is_a_column(tmp_path: Path) -> None:
    FRAME.set_index("id").to_parquet(tmp_path / "a.parquet")
    same(table.read(tmp_path / "a.parquet", KINDS))
    counted = FRAME.drop(columns="n").set_index(pd.RangeIndex(5, 7, name="n"))
    counted.to_parquet(tmp_path / "a.parquet")
    assert table.read(tmp_path / "a.parquet", KINDS).n.tolist() == [5, 6]
    FRAME.iloc[::-1].to_parquet(tmp_path / "a.parquet")  # an index without a name is no column
    assert set(table.read(tmp_path / "a.parquet", KINDS).columns) == set(FRAME.columns)


def test_b26_a_partitioned_folder_is_read_with_the_columns_of_its_folders(tmp_path: Path) -> None:
    for row, (month, kind) in enumerate([("09", "a b"), ("10", None)]):
        folder = tmp_path / "year=2026" / f"month={month}" / f"kind={'a%20b' if kind else '__HIVE_DEFAULT_PARTITION__'}"
        folder.mkdir(parents=True)
        FRAME.iloc[[row]].to_parquet(folder / "part-0.parquet", index=False)
    (tmp_path / "_SUCCESS").touch()
    found = table.read(tmp_path, KINDS | {"year": "INT64", "kind": "BYTES", "month": "BYTES"})
    same(found)
    assert (found.year.tolist(), found.month.tolist(), found.kind.tolist()) == (
        [2026, 2026],
        ["09", "10"],
        ["a b", None],
    )


def test_b26_a_folder_within_that_is_no_partition_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    FRAME.to_parquet(tmp_path / "a.parquet", index=False)
    FRAME.to_parquet(tmp_path / "old" / "a.parquet", index=False)
    assert "old holds data and is no partition" in refused(tmp_path).message
    (tmp_path / "old" / "a.parquet").unlink()
    same(table.read(tmp_path, KINDS))
    (tmp_path / "more.xlsx").touch()
    assert "more.xlsx lies among the data and is not read" in refused(tmp_path).message


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.bz2", "a.csv.zst", "a.jsonl.gz", "a.tsv"])
def test_n05_compressed_files_and_tabs_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if "jsonl" in name:
        FRAME.to_json(path, orient="records", lines=True, date_format="iso", date_unit="us")
    else:
        with pa.output_stream(str(path), compression="detect") as stream:
            FRAME.to_csv(stream, index=False, sep="\t" if name.endswith("tsv") else ",")
    same(table.read(path, KINDS))


@pytest.mark.parametrize(
    ("column", "values", "kind", "keys", "wanted"),
    [
        ("at", ["2026-08-31 00:05:00"], table.TIME, {"timezone": "UTC"}, datetime(2026, 8, 31, 0, 5, tzinfo=UTC)),
        (
            "at",
            ["31.08.2026 00:05"],
            table.TIME,
            {"time_format": "%d.%m.%Y %H:%M", "timezone": "UTC"},
            datetime(2026, 8, 31, 0, 5, tzinfo=UTC),
        ),
        ("x", ['"39,5"'], "FP64", {"decimal": ","}, 39.5),
        ("n", ["39", "NA"], "INT64", {"nulls": ["", "NA"]}, 39.0),
        ("yes", ["ja", "nein"], "BOOL", {"true_words": ["ja"], "false_words": ["nein"]}, True),
    ],
)
def test_n05_the_option_that_is_named_reads_what_was_refused(
    tmp_path: Path, column: str, values: list[str], kind: str, keys: dict[str, Any], wanted: Any
) -> None:
    path = text(tmp_path, f"{column},other", *(f"{value},1" for value in values))
    told = refused(path, {column: kind})
    given = yaml.safe_load("{" + told.fix.split("`")[1] + "}")
    assert all(
        set(given[key]) >= set(value) if isinstance(value, list) else given[key] == value for key, value in keys.items()
    )
    options(tmp_path, **given)
    found = table.read(path, {column: kind})[column]
    assert found[0] == wanted and len(found) == len(values)


def test_n05_whole_numbers_truths_and_ids_are_read_as_they_are_declared(tmp_path: Path) -> None:
    kinds = {"label": "INT64", "n": "INT64", "yes": "BOOL", "id": "BYTES"}
    found = table.read(text(tmp_path, "label,n,yes,id", "True,39.0,1,007", "False,+40,0,8"), kinds)
    assert found.to_dict("list") == {"label": [1, 0], "n": [39, 40], "yes": [True, False], "id": ["007", "8"]}
    (tmp_path / "b.jsonl").write_text('{"label": true, "n": 39.0, "yes": false, "id": 9007199254740993}\n')
    found = table.read(tmp_path / "b.jsonl", kinds)
    assert found.to_dict("list") == {"label": [1], "n": [39], "yes": [False], "id": ["9007199254740993"]}


def test_n05_semicolons_and_other_encodings_are_named_and_read(tmp_path: Path) -> None:
    path = text(tmp_path, "id;x", "Jörg;1,5", encoding="cp1252")
    assert "encoding: cp1252" in refused(path).fix and "a.csv:2" in refused(path).got
    for other in ("utf-16", "utf-32"):
        options(tmp_path, encoding=other)
        assert f"not text in {other}" in refused(path).message and refused(path).exit_code == 3
    options(tmp_path, encoding="cp1252", decimal=",")
    assert "separator: ';'" in refused(path).fix
    options(tmp_path, encoding="cp1252", decimal=",", separator=";")
    assert table.read(path, KINDS).to_dict("list") == {"id": ["Jörg"], "x": [1.5]}


def test_n05_names_are_mapped_and_the_nearest_is_named(tmp_path: Path) -> None:
    path = text(tmp_path, "AMOUNT,orderId", "1,2")
    frame = table.read(path, {"amount": "FP64"})
    (found,) = contract.breaches(contract.frame_schema([Field(name="amount", datatype="FP64")]), frame)
    assert "write `names: {AMOUNT: amount}` into data.yaml" in str(found)
    options(tmp_path, names={"AMOUNT": "amount", "orderID": "order_id"})
    with pytest.raises(DeclarationError) as caught:
        table.read(path, {})
    assert "names.orderID" in caught.value.message and caught.value.fix == "write orderId: order_id"
    options(tmp_path, names={"AMOUNT": "amount", "orderId": "order_id"})
    assert table.read(path, {"amount": "FP64"}).to_dict("list") == {"amount": [1.0], "order_id": ["2"]}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("INT64", "9223372036854775808"),
        ("INT64", "1.5"),
        ("INT64", "1e3"),
        ("INT32", "2147483648"),
        ("FP64", "9007199254740993"),
        ("FP64", "1e999"),
        ("FP64", "1 000"),
        ("FP64", "nan"),
        ("BOOL", "yes"),
        (table.TIME, "2026-13-01T00:00:00Z"),
        (table.TIME, "2026-02-30T00:00:00Z"),
        (table.TIME, "2026-02-03T24:00:00Z"),
        (table.TIME, "2026-02-03T23:59:60Z"),
        (table.TIME, "2026-02-03T23:00:00+99:00"),
        (table.TIME, "2026-02-03T23:00:00+01:99"),
        (table.TIME, "2026-01-01T00:00:00.1234567Z"),
        (table.TIME, "1767225600"),
    ],
)
def test_what_a_kind_cannot_hold_exactly_is_refused(tmp_path: Path, kind: str, value: str) -> None:
    told = refused(text(tmp_path, "v,other", f"{value},1"), {"v": kind})
    assert f"'{value}' (a.csv:2)" in told.got


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("FP64", pa.array([2**53 + 1])),
        ("INT64", pa.array([2**53 + 1, None])),
        ("INT64", pa.array([2.0**60])),
        ("INT64", pa.array([2**63], pa.uint64())),
        ("BOOL", pa.array([2], pa.int8())),
        ("BYTES", pa.array([1.0])),
        ("FP32", pa.array([1e300])),
        (table.TIME, pa.array([1], pa.timestamp("ns", "UTC"))),
        (table.TIME, pa.array([datetime(2026, 1, 1)])),  # without a zone, as DuckDB writes it
    ],
)
def test_what_parquet_holds_and_a_kind_does_not_is_refused_with_its_row(
    tmp_path: Path, kind: str, values: pa.Array
) -> None:
    pq.write_table(pa.table({"v": values}), tmp_path / "a.parquet")
    told = refused(tmp_path / "a.parquet", {"v": kind})
    assert "in 1 row" in told.got and "a.parquet, row 1" in told.got


def test_an_hour_that_the_clock_skips_or_repeats_is_refused(tmp_path: Path) -> None:
    options(tmp_path, timezone="Europe/Berlin")
    lines = ["2026-03-29 01:59", "2026-03-29 02:30", "2026-10-25 02:30", "2026-10-25 03:00"]
    told = refused(text(tmp_path, "at,other", *(f"{each},1" for each in lines)), {"at": table.TIME})
    assert "in 2 rows" in told.got and "(a.csv:3)" in told.got and "(a.csv:4)" in told.got
    assert "the clock of Europe/Berlin skips or repeats that hour" in told.fix and "+02:00" in told.fix


def test_a_decimal_mark_that_is_the_other_one_is_told_with_its_key(tmp_path: Path) -> None:
    comma = refused(text(tmp_path, "x,other", '"23,45",1', "7,1"), {"x": "FP64"})
    assert "'23,45' (a.csv:2)" in comma.got and "decimal: ','" in comma.fix
    options(tmp_path, decimal=",")
    dot = refused(text(tmp_path, "x,other", '"23,45",1', "1.5,1"), {"x": "FP64"})
    assert "'1.5' (a.csv:3)" in dot.got
    options(tmp_path, decimal=",")
    whole = refused(text(tmp_path, "x,other", "23.45,1", "1.5,1"), {"x": "FP64"})
    assert "decimal: ." in whole.fix


def test_a_line_is_named_by_where_it_is_written(tmp_path: Path) -> None:
    path = text(tmp_path, "id,n", '"two\nlines",1', "", "b,x")
    assert "'x' (a.csv:5)" in refused(path, {"n": "INT64"}).got
    path = text(tmp_path, '{"n": 1}', "", '{"n": "x"}', name="a.jsonl")
    assert "several kinds of values" in refused(path, {"n": "INT64"}).message
    path = text(tmp_path, '{"n": "1"}', "", '{"n": "x"}', name="a.jsonl")
    assert "'x' (a.jsonl:3)" in refused(path, {"n": "INT64"}).got


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["a,b", '1,"never closed', "2,3"], "never closed"),
        (["a,b", '1,"never closed'], "never closed"),
        (["a,a", "1,2"], "column a of a.csv is there more than once"),
        (["a;b", "1;2"], "one column, whose name holds a separator"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, lines: list[str], said: str) -> None:
    told = refused(text(tmp_path, *lines), {"z": "FP64", "b": "BYTES"})
    assert said in str(told)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"timezone": "Mars/Base"}, "a zone such as UTC"),
        ({"time_format": "%d.%m.%Y %z"}, "no zone"),
        ({"decimals": ","}, "no such key"),
        ({"separator": "ab"}, "data.yaml: separator"),
        ({"encoding": "klingon"}, "an encoding such as"),
        ({"encoding": "idna"}, "an encoding such as"),
    ],
)
def test_an_option_that_cannot_be_is_a_usage_error(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    options(tmp_path, **keys)
    with pytest.raises(DeclarationError, match=said):
        table.read(text(tmp_path, "a", "1"), {})


def test_a_long_text_is_read_and_its_row_is_named(tmp_path: Path) -> None:
    path = text(tmp_path, "id,n", f'"{"long " * 500_000}",1', '"two\nlines",x')
    assert "'x' (a.csv:3)" in refused(path, {"n": "INT64"}).got
    assert len(table.read(path, {"id": "BYTES"}).id[0]) == 2_500_000


def test_a_header_of_two_lines_is_skipped_whole(tmp_path: Path) -> None:
    path = text(tmp_path, 'id,"n\nof all"', "a,1", "", "b,2")
    assert table.read(path, {"n\nof all": "INT64"})["n\nof all"].tolist() == [1, 2]


def test_a_quoted_value_at_the_end_is_no_open_quote(tmp_path: Path) -> None:
    for last in ('"x"', '""', '"a ""b"""', 'it"s', '"two\nlines"'):
        (tmp_path / "a.csv").write_text(f"a,b\n1,{last}")
        assert len(table.read(tmp_path / "a.csv", {"b": "BYTES"})) == 1


@pytest.mark.parametrize(
    ("log", "kind"),
    [("_delta_log/00.json", "Delta"), (".hoodie/hoodie.properties", "Hudi"), ("metadata/v1.metadata.json", "Iceberg")],
)
@pytest.mark.parametrize("below", ["", "dt=2026-09-01/"])
def test_a_table_whose_log_says_which_files_count_is_refused(tmp_path: Path, log: str, kind: str, below: str) -> None:
    """Row B26, datui #237: files of deleted rows lie beside those that count."""
    for name in (f"{below}{log}", f"{below}a.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("id,n\na,1\n")
    assert f"is a {kind} table" in refused(tmp_path).message


@pytest.mark.parametrize("row", ['"a "b" c",1', '"a"b,1', r'"a \"b\" c",1', '"a"b",1', '"a" ,1'])
def test_a_quoted_value_that_goes_on_after_its_quote_is_refused(tmp_path: Path, row: str) -> None:
    """csvquote #12 and xsv #326: a backslash before a quote, as Spark writes, or none; readers make different texts of it."""
    told = refused(text(tmp_path, "id,n", '"two\nlines",1', "", row), {"id": "BYTES"})
    assert "goes on after the quote" in told.message and f"a.csv:5: {row}" in told.got and "Spark" in told.fix


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('5" heel', '5" heel'),
        ('a"b"c', 'a"b"c'),
        ('"5"" heel"', '5" heel'),
        ('"a,""b"', 'a,"b'),
        ('""""', '"'),
        ('"a\n""b"', 'a\n"b'),
    ],
)
def test_quotes_that_mean_one_thing_are_read(tmp_path: Path, written: str, meant: str) -> None:
    found = table.read(text(tmp_path, "id,n", f"{written},1", "x,2"), {"id": "BYTES", "n": "INT32"})
    assert found.id.tolist() == [meant, "x"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("data", "odd"), [(b'"a"b,1\n', True), (b'a,"b""c"\n"d"\n', False), (b'a"b\n', True), (b'"a"', False)]
)
def test_a_quote_within_a_value_is_noticed_wherever_blocks_end(data: bytes, odd: bool, size: int) -> None:
    watched = csv_file._Watched(io.BufferedReader(io.BytesIO(data)), ",")
    while watched.read(size):
        pass
    assert watched.odd is odd


def test_files_that_hold_another_type_of_an_undeclared_column_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"v": [1.5]}), tmp_path / "b.parquet")
    assert "column v is of another type from file to file" in refused(tmp_path).message
    assert table.read(tmp_path, {"v": "FP64"}).v.tolist() == [1.0, 1.5]


def test_whole_numbers_of_an_undeclared_column_stay_exact_beside_missing_ones(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": [2**53 + 1, None], "w": [1, None]}), tmp_path / "a.parquet")
    for found in (table.read(tmp_path, {}), table.head(tmp_path / "a.parquet", rows=9)):
        assert found.v.tolist() == [2**53 + 1, None] and found.w.dtype == np.float64


def test_what_is_beside_a_file_counts_as_its_content(tmp_path: Path) -> None:
    from hallmark.training import cache

    path = text(tmp_path, "a", "1")
    before = cache.digest(path)
    options(tmp_path, timezone="UTC")
    assert cache.digest(path) != before


def test_arrays_of_a_shaped_field_pass_to_the_contract_as_they_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": [[1.0, 2.0], [3.0]]}), tmp_path / "a.parquet")
    assert [list(each) for each in table.read(tmp_path / "a.parquet", {"v": "FP64"}).v] == [[1.0, 2.0], [3.0]]
    assert np.asarray(table.read(tmp_path / "a.parquet", {"v": "FP64"}).v[0]).dtype == np.float64


def test_compressions_are_those_of_their_names(tmp_path: Path) -> None:
    whole = gzip.compress("".join(f"{number},{number * 7919 % 104729}\n" for number in range(9999)).encode())
    for name in ("half.csv.gz", "half.jsonl.gz"):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        assert name in str(refused(tmp_path / name))
    (tmp_path / "a.csv.gz").write_bytes(bz2.compress(b"a\n1\n"))
    assert "a.csv.gz" in str(refused(tmp_path / "a.csv.gz"))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a\n1\n")[:-9])
    assert "a.csv.gz" in str(refused(tmp_path / "a.csv.gz"))


def test_refusals_are_the_contract_s(tmp_path: Path) -> None:
    with pytest.raises(ContractBroken) as caught:
        table.read(text(tmp_path, "n", "x"), {"n": "INT64"})
    assert caught.value.exit_code == 3


ORDERS = orders(datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 9, 3, tzinfo=UTC), seed=1)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main([*arguments])
    written = capsys.readouterr()
    return code, written.out + written.err


def test_b01_a_price_that_is_written_last_with_a_comma_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = ORDERS[[*(name for name in ORDERS.columns if name != "amount"), "amount"]].copy()
    last["amount"] = [f"{amount:.2f}".replace(".", ",") for amount in last["amount"]]
    (tmp_path / "comma.csv").write_text(last.to_csv(index=False).replace('"', ""))
    code, words = told(capsys, "data", "fraud", "--data", str(tmp_path / "comma.csv"))
    assert code == 3 and "comma.csv:2 has" in words and "kept" not in words


def test_n05_what_a_newcomer_brings_is_read_as_data_yaml_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Semicolons, decimal commas, naive times, compressed, with upper-case names and a truth for a label."""
    given = ORDERS.assign(
        fraud=ORDERS["fraud"] == 1,
        ordered_at=ORDERS["ordered_at"].dt.tz_localize(None),
        charged_back_at=ORDERS["charged_back_at"].dt.tz_localize(None),
    )
    path = tmp_path / "orders.csv.gz"
    given.rename(columns=str.upper).to_csv(path, index=False, sep=";", decimal=",")
    keys: dict[str, Any] = {"separator": ";", "names": {name.upper(): name for name in given.columns}}
    options(tmp_path, **keys)
    code, words = told(capsys, "data", "fraud", "--data", str(path))
    assert code == 3 and "decimal: ','" in words and "timezone: UTC" in words
    options(tmp_path, **keys, decimal=",", timezone="UTC")
    code, words = told(capsys, "data", "fraud", "--data", str(path))
    assert code == 1 and "hallmark features ingest orders@1" in words, (
        "it is read, and what its buyers did before is not here"
    )
    found = data.read(path)  # of a CSV, what is empty is missing: in the column that nobody declares too
    pd.testing.assert_frame_equal(found.assign(pattern=found["pattern"].fillna("")), ORDERS, check_like=True)


@pytest.mark.parametrize(("kind", "value"), [("FP64", "1.5"), ("INT64", "3"), ("BOOL", "true"), ("BYTES", "x")])
def test_n05_a_missing_value_is_named_with_the_declaration_that_would_take_it(
    tmp_path: Path, kind: Any, value: str
) -> None:
    frame = table.read(text(tmp_path, "v,other", f"{value},1", ",2", f"{value},3"), {"v": kind})
    with pytest.raises(ContractBroken) as caught:
        contract.check(contract.frame_schema([Field(name="v", datatype=kind)]), frame, "these")
    assert "column v: not filled, in 1 row" in caught.value.message and "optional=True" in caught.value.fix
    contract.check(contract.frame_schema([Field(name="v", datatype=kind, optional=True)]), frame, "these")


@pytest.mark.parametrize("cut", [False, True])
def test_b37_empty_columns_and_a_cut_line_are_quiet_or_named(tmp_path: Path, cut: bool) -> None:
    """Warnings are errors in these tests."""
    for place, part in enumerate((ORDERS.assign(charged_back_at=pd.NaT), ORDERS)):
        part.to_csv(tmp_path / f"part-{place}.csv", index=False)
    if cut:
        path = tmp_path / "part-1.csv"
        path.write_text(path.read_text().rstrip().rpartition(",")[0][:-3])
        with pytest.raises(ContractBroken, match="more or fewer values") as caught:
            data.read(tmp_path)
        assert f"part-1.csv:{len(ORDERS) + 1} has" in caught.value.got
    else:
        assert len(data.read(tmp_path)) == 2 * len(ORDERS)


def test_b37_times_that_are_none_cost_the_contract_no_warning_and_no_minutes() -> None:
    frame = ORDERS.assign(ordered_at=ORDERS["ordered_at"].astype(str).astype(object))
    found = contract.breaches(data.contract(), frame)
    assert any("column ordered_at: not a time with a time zone" in str(each) for each in found)
