"""A frame written in any of the forms that users bring reads back equal, or is refused: never a third thing."""

from __future__ import annotations

import collections
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hallmark.data import table
from hallmark.errors import HallmarkError

KINDS = {"row": "INT64", "id": "BYTES", "n": "INT64", "x": "FP64", "yes": "BOOL", "at": table.TIME}
Values = dict[str, list[Any]]
Draw = Callable[[st.SearchStrategy[Any]], Any]
Counted = collections.Counter[str]

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["NA", "007", "a,b", 'say "x"', "two\nlines", "cr\r\nlf", "é;ü", " pad ", "1,5", "true", "=1+1", "#", "'"]
)
TEXTS = st.one_of(WORDS, WORDS, st.integers(0, 10**20).map(str))
TIMES = st.datetimes(datetime(1971, 1, 1), datetime(2060, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "id": TEXTS,
    "n": st.integers(-(2**63), 2**63 - 1) | st.integers(-1000, 1000),
    "x": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9999, 9999).map(lambda cents: cents / 100),
    "yes": st.booleans(),
    "at": TIMES,
}


@st.composite
def frames(draw: Draw) -> Values:
    rows = draw(st.integers(1, 6))
    values: Values = {"row": list(range(rows))}
    for name, each in SCALARS.items():
        missing = draw(st.booleans())
        values[name] = draw(st.lists(st.none() | each if missing else each, min_size=rows, max_size=rows))
    return values


def readable(content: bytes) -> str | None:
    """The text, if it is UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def as_csv(values: Values, folder: Path, draw: Draw) -> None:
    separator, decimal = draw(
        st.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", "."), ("|", ","), (",", ",")])
    )
    name = "a.tsv" if separator == "\t" else "a.csv"
    compression = draw(st.sampled_from(["", ".gz", ".bz2", ".zst"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "cp1252"]))
    said = {
        key: value
        for key, value in {"separator": separator, "decimal": decimal}.items()
        if value not in ",.\t" or key == "decimal"
    }
    frame = pd.DataFrame({column: pd.Series(given, dtype=object) for column, given in values.items()})
    frame["x"] = [None if each is None else repr(each).replace(".", decimal) for each in values["x"]]
    frame["at"] = [None if each is None else each.isoformat(sep=draw(st.sampled_from("T "))) for each in values["at"]]
    frame["yes"] = [
        None if each is None else draw(st.sampled_from([str(each), str(each).lower()])) for each in values["yes"]
    ]
    if draw(st.booleans()):
        said |= {"names": {"Nummer": "n"}}
        frame = frame.rename(columns={"n": "Nummer"})
    text = frame.to_csv(index=False, sep=separator, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    if encoding == "cp1252" and (draw(st.booleans()) or readable(text.encode(encoding)) not in (None, text)):
        said |= {"encoding": "cp1252"}  # where nobody says so, bytes that are UTF-8 by chance are UTF-8
    with pa.output_stream(str(folder / (name + compression)), compression="detect") as stream:
        stream.write(text.encode(encoding))
    (folder / "data.yaml").write_text(yaml.safe_dump(said))


def as_lines(values: Values, folder: Path, draw: Draw) -> None:
    plain = {**values, "at": [None if each is None else each.isoformat() for each in values["at"]]}
    rows = [dict(zip(plain, each, strict=True)) for each in zip(*plain.values(), strict=True)]
    if draw(st.booleans()):
        rows = [{name: value for name, value in row.items() if value is not None or name == "row"} for row in rows]
    suffix = draw(st.sampled_from([".jsonl", ".ndjson", ".jsonl.gz"]))
    with pa.output_stream(str(folder / f"a{suffix}"), compression="detect") as stream:
        stream.write("".join(json.dumps(row, ensure_ascii=draw(st.booleans())) + "\n" for row in rows).encode())


def arrays(values: Values, folder: Path, draw: Draw) -> pa.Table:
    """The columns in one of the types that programs write them in; only such as hold them."""
    made = {name: [pa.array(values["row"])] if name == "row" else [] for name in values}
    for name, kinds in {
        "id": [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
        "n": [pa.int64(), pa.int32(), pa.int8(), pa.uint64(), pa.decimal128(38, 0), pa.decimal128(25, 3), pa.string()],
        "x": [pa.float64(), pa.float32(), pa.decimal128(38, 6)],
        "yes": [pa.bool_(), pa.bool_()],
        "at": [
            pa.timestamp("us", "UTC"),
            pa.timestamp("us", "Asia/Tokyo"),
            pa.timestamp("ns", "UTC"),
            pa.timestamp("ms", "UTC"),
        ],
    }.items():
        for kind in kinds:
            given = values[name]
            if pa.types.is_string(kind) and name == "n":
                given = [None if each is None else str(each) for each in given]
            elif pa.types.is_decimal(kind):
                given = [None if each is None else Decimal(repr(each)) for each in given]
            try:
                array = (
                    pa.array(given, pa.string()).dictionary_encode()
                    if pa.types.is_dictionary(kind)
                    else pa.array(given, kind)
                )
                back = array.to_pylist()
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
                continue
            if [None if each is None else float(each) if name == "x" else each for each in back] == [
                each if name != "n" or each is None else (str(each) if pa.types.is_string(kind) else each)
                for each in values[name]
            ]:
                made[name].append(array)
    flags = [None if each is None else int(each) for each in values["yes"]]
    made["yes"] += [
        pa.array(flags, pa.int8()),
        pa.array([None if each is None else str(each) for each in values["yes"]]),
    ]
    whole = [None if each is None else float(each) for each in values["n"]]
    made["n"].append(
        pa.array(whole if [None if each is None else int(each) for each in whole] == values["n"] else values["n"])
    )
    naive = [None if each is None else each.replace(tzinfo=None) for each in values["at"]]
    zone = draw(st.sampled_from([None, "UTC", "Europe/Berlin"]))
    if zone is None:
        made["at"].append(pa.array(naive, pa.timestamp("us")))  # nobody says which zone: has to be refused
    else:
        (folder / "data.yaml").write_text(yaml.safe_dump({"timezone": zone}))
        local = [
            None if each is None else each.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for each in values["at"]
        ]
        made["at"].append(pa.array(local, pa.timestamp("us")))
        made["at"].append(pa.array([None if each is None else each.isoformat() for each in local]))
    return pa.table({name: draw(st.sampled_from(choices)) for name, choices in made.items()})


def as_parquet(values: Values, folder: Path, draw: Draw) -> None:
    pq.write_table(arrays(values, folder, draw), folder / "a.parquet")


def as_parts(values: Values, folder: Path, draw: Draw) -> None:
    given = arrays(values, folder, draw)
    cut = draw(st.integers(0, len(given)))
    for place, part in enumerate((given.slice(0, cut), given.slice(cut))):
        home = folder / draw(st.sampled_from([f"dt=2026-09-0{place + 1}", f"dt={place}"]))
        home.mkdir(exist_ok=True)
        pq.write_table(part, home / f"part-{place}.parquet", use_dictionary=draw(st.booleans()))


def as_pandas(values: Values, folder: Path, draw: Draw) -> None:
    given, mapper = arrays(values, folder, draw), draw(st.sampled_from([None, pd.ArrowDtype]))
    nullable, index = draw(st.booleans()), draw(st.sampled_from([None, "id", "n", ["row", "id"]]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what pandas says of its own conversions
            frame = given.to_pandas(types_mapper=mapper)
            frame = frame.convert_dtypes() if nullable else frame
            (frame if index is None else frame.set_index(index)).to_parquet(folder / "a.parquet")
    except (
        pa.ArrowException,
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        NotImplementedError,
    ):  # pandas cannot write it
        pq.write_table(given, folder / "a.parquet")


FORMS = (as_csv, as_csv, as_lines, as_parquet, as_parts, as_pandas)


def told(name: str, found: pd.Series) -> list[Any]:
    """The values of a column as Python has them, None for what is missing; an empty text is missing too."""
    plain = [
        None if each is None or each is pd.NA or each is pd.NaT or each != each else each for each in found.tolist()
    ]
    if name in ("n", "row"):
        assert all(each is None or float(each).is_integer() for each in plain)
        return [None if each is None else int(each) for each in plain]
    if name == "id":
        return [each or None for each in plain]
    return [each.to_pydatetime() if isinstance(each, pd.Timestamp) else each for each in plain]


def outcome(values: Values, draw: Draw) -> str:
    """`equal`, `refused`, or `not written` where the form has no place for such values; anything else is a failure."""
    form = draw(st.sampled_from(FORMS))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            form(values, folder, draw)
        except UnicodeEncodeError:
            return "not written"
        except pd.errors.OutOfBoundsDatetime:
            return "not written"
        try:
            found = table.read(folder, KINDS).sort_values("row")
        except HallmarkError as error:
            assert error.got or error.expected
            return "refused"
    for name, wanted in values.items():
        if name not in found:  # a key that no line of JSON has
            assert set(wanted) == {None}
            continue
        got = told(name, found[name])
        wanted = [each or None for each in wanted] if name == "id" else wanted
        assert got == wanted, (form.__name__, name, got, wanted)
    assert "at" not in found or found["at"].dtype == pd.DatetimeTZDtype("us", "UTC")
    return "equal"


@pytest.fixture(scope="module")
def counted() -> Iterator[Counted]:
    """What came of the frames: most of them are read, and of many some are refused."""
    found: Counted = collections.Counter()
    yield found
    assert found["equal"] > found["refused"], found
    assert found["refused"] or found.total() < 1000, found


@pytest.mark.examples
@given(values=frames(), data=st.data())
def test_what_is_written_reads_back_equal_or_is_refused(values: Values, data: st.DataObject, counted: Counted) -> None:
    counted[outcome(values, data.draw)] += 1
