"""A team's own records and photos: what is there is read, what is not says which file, column and row it is about."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from hallmark.data import album, table
from hallmark.errors import ContractBroken, DeclarationError, HallmarkError, NotFound
from hallmark.training import source

KINDS = {"n": "INT64", "x": "FP64", "yes": "BOOL", "who": "BYTES", "at": table.TIME}
UTC_US = pd.DatetimeTZDtype("us", "UTC")


def csv(folder: Path, text: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_gets_the_declared_types(tmp_path: Path) -> None:
    path = csv(
        tmp_path, "n,x,yes,who,at\n1,2,true,NA,2026-03-01T10:00:00Z\n2,3.5,False,007,2026-07-01T10:00:00+02:00\n"
    )
    frame = table.read(path, KINDS)
    assert frame.dtypes.astype(str).tolist() == ["int64", "float64", "bool", "object", "datetime64[us, UTC]"]
    assert frame.who.tolist() == ["NA", "007"]
    assert frame["at"][1] == pd.Timestamp("2026-07-01T08:00:00Z")


def test_what_is_not_of_its_kind_is_named_with_file_and_line_and_the_option_that_would_read_it(tmp_path: Path) -> None:
    rows = "".join(f"{number},{number},true,a,2026-03-01 1{number}:00\n" for number in range(5))
    path = csv(tmp_path, f"n,x,yes,who,at\n1.5,2,true,a,2026-03-01 10:00\n2,many,perhaps,b,2026-07-01 10:00\n{rows}")
    with pytest.raises(ContractBroken) as caught:
        table.read(path, KINDS)
    assert caught.value.got.splitlines() == [
        "7 rows",
        "        column n: not a whole number (int64), in 1 row, such as '1.5' (a.csv:2)",
        "        column x: not a number (float64), in 1 row, such as 'many' (a.csv:3)",
        "        column yes: not true or false, in 1 row, such as 'perhaps' (a.csv:3)",
        "        column at: not a time with its zone, to the microsecond (2026-10-31T08:00:00Z), in 7 rows, such as '2026-03-01 10:00' (a.csv:2), "
        "'2026-07-01 10:00' (a.csv:3), '2026-03-01 10:00' (a.csv:4)",
    ]
    assert caught.value.fix == f"where they are written so, say it in {tmp_path / 'data.yaml'}: `timezone: UTC` (at)"


def test_a_column_of_times_that_is_empty_is_one_of_times(tmp_path: Path) -> None:
    frame = table.read(csv(tmp_path, "n,at\n1,\n2,\n"), KINDS)
    assert frame["at"].dtype == UTC_US and frame["at"].isna().all()


def test_a_folder_of_files_is_read_in_order_of_their_names(tmp_path: Path) -> None:
    csv(tmp_path, "x,n\n2.0,2\n", "b.csv")
    csv(tmp_path, "n,x\n1,1.0\n", "a.csv")
    csv(tmp_path, "notes", "README.md")
    assert table.read(tmp_path, KINDS).to_dict("list") == {"n": [1, 2], "x": [1.0, 2.0]}
    csv(tmp_path, "n,y\n3,1.0\n", "c.csv")
    with pytest.raises(ContractBroken, match=r"c\.csv has other columns than a\.csv"):
        table.read(tmp_path, KINDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a CSV"),
        ("n,x\n1,2,3\n4,5,6,7\n", "cannot be read as a CSV"),
        ("n,n\n1,2\n", "column n of a.csv is there more than once"),
    ],
)
def test_a_broken_csv_says_so(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(HallmarkError, match=message):
        table.read(csv(tmp_path, text), KINDS)


def test_a_csv_in_another_encoding_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("who\nJosé\n".encode("latin-1"))
    with pytest.raises(HallmarkError, match=r"a\.csv cannot be read as a CSV"):
        table.read(tmp_path / "a.csv", KINDS)


def test_a_path_with_nothing_to_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no data at"):
        table.read(tmp_path / "missing.csv", KINDS)
    with pytest.raises(HallmarkError, match="holds no records") as caught:
        table.read(tmp_path, KINDS)
    assert caught.value.got == "an empty folder"
    with pytest.raises(HallmarkError, match="holds no records"):
        table.read(csv(tmp_path, "{}", "orders.json"), KINDS)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two photos, as a team hands it in."""
    (tmp_path / "images").mkdir()
    for name in ("one.jpg", "two.png"):
        stream = io.BytesIO()
        Image.new("RGB", (8, 8), "red").save(stream, "PNG" if name.endswith("png") else "JPEG")
        (tmp_path / "images" / name).write_bytes(stream.getvalue())
    csv(tmp_path, "image,sender_id,label,kids\none,7,Hat,False\ntwo.png,8,Dress,True\n", "images.csv")
    return tmp_path


def test_photos_are_read_with_or_without_their_suffix(photos: Path) -> None:
    frame = album.read(photos)
    assert frame.name.tolist() == ["one.jpg", "two.png"] and frame.sender_id.tolist() == ["7", "8"]
    assert frame.kids.tolist() == [False, True] and frame.kids.dtype == bool
    assert frame.image[0] == (photos / "images" / "one.jpg").read_bytes()


@pytest.mark.parametrize(
    ("image", "rule"),
    [
        ("../secret", "a plain file name"),
        ("/etc/hostname", "a plain file name"),
        ("images/one", "a plain file name"),
        ("..", "a plain file name"),
        (".hidden", "a plain file name"),
        ("a\\b", "a plain file name"),
        ("", "filled"),
        ("three", "the name of one file in images/"),
        ("two.png", "different from all others"),
        ("two", "different from all others"),
    ],
)
def test_a_name_that_is_no_photo_of_the_folder_is_refused(photos: Path, image: str, rule: str) -> None:
    (photos / "secret.jpg").write_bytes(b"not yours")
    csv(photos, f"image,sender_id,label,kids\n{image},7,Hat,False\ntwo.png,8,Dress,True\n", "images.csv")
    with pytest.raises(ContractBroken) as caught:
        album.read(photos)
    assert f"column image: not {rule}" in caught.value.message


@pytest.mark.parametrize(
    ("file", "image"),
    [
        ("IMG 0001 (1).jpg", "IMG 0001 (1).jpg"),
        ("IMG 0001 (1).jpg", "IMG 0001 (1)"),
        ("[neu] Möbel & Größe.png", "[neu] Möbel & Größe.png"),
        ("Mo\u0308bel.jpg", "Möbel.jpg"),
        ("IMG_2.JPG", "IMG_2"),
        ("IMG_2.JPG", "img_2.jpg"),
        ("写真.jpeg", "写真"),
    ],
)
def test_b36_a_photo_is_found_by_the_name_that_cameras_and_people_give(photos: Path, file: str, image: str) -> None:
    (photos / "images" / "one.jpg").rename(photos / "images" / file)
    csv(photos, f"image,sender_id,label,kids\n{image},7,Hat,False\ntwo.png,8,Dress,True\n", "images.csv")
    assert album.read(photos).name.tolist() == [file, "two.png"]


def test_b36_a_name_that_two_files_could_have_is_refused(photos: Path) -> None:
    (photos / "images" / "one.PNG").write_bytes((photos / "images" / "two.png").read_bytes())
    with pytest.raises(ContractBroken, match="not the name of one file in images/"):
        album.read(photos)


def test_b17_a_photo_of_another_format_is_named_with_its_file(photos: Path) -> None:
    (photos / "images" / "one.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40)
    with pytest.raises(ContractBroken, match=r"not a JPEG, PNG or WebP photo, in 1 row, such as 'one\.jpg: HEIC'"):
        album.read(photos)


def test_a_link_out_of_the_folder_is_refused(photos: Path) -> None:
    (photos / "secret.jpg").write_bytes(b"not yours")
    (photos / "images" / "three.jpg").symlink_to(photos / "secret.jpg")
    csv(photos, "image,sender_id,label,kids\nthree,7,Hat,False\n", "images.csv")
    with pytest.raises(ContractBroken, match="a file that lies in images/ itself"):
        album.read(photos)


def test_a_folder_that_is_no_album_says_what_is_missing(photos: Path) -> None:
    with pytest.raises(NotFound, match="there are no photos at"):
        album.read(photos / "nowhere")
    csv(photos, "image,label\none,Hat\n", "images.csv")
    with pytest.raises(ContractBroken, match=r"column sender_id is not in images\.csv"):
        album.read(photos)
    csv(photos, "image,sender_id,label,kids\n", "images.csv")
    with pytest.raises(HallmarkError, match="lists no photo"):
        album.read(photos)
    (photos / "images.csv").unlink()
    with pytest.raises(NotFound) as caught:
        album.read(photos)
    assert caught.value.got == "no images.csv there"


def test_a_window_keeps_only_what_happened_in_it(tmp_path: Path) -> None:
    path = csv(tmp_path, "order_id,ordered_at\na,2026-01-01T00:00:00Z\nb,2026-02-01T00:00:00Z\nc,\n", "orders.csv")
    window = {"start": datetime(2026, 1, 15, tzinfo=UTC), "end": datetime(2026, 3, 1, tzinfo=UTC)}
    frame = source.rows("fraud", source=str(path), seed=0, **window)
    assert frame.order_id.tolist() == ["b", "c"]  # what has no time is for the contract to name
    late = {"start": datetime(2027, 1, 1, tzinfo=UTC), "end": datetime(2027, 2, 1, tzinfo=UTC)}
    path = csv(tmp_path, "order_id,ordered_at\na,2026-01-01T00:00:00Z\n", "orders.csv")
    with pytest.raises(HallmarkError, match="is of the time asked for") as caught:
        source.rows("fraud", source=str(path), seed=0, **late)
    assert "1 rows from 2026-01-01 to 2026-01-01" in caught.value.got


def test_a_shift_is_only_put_into_synthetic_data(tmp_path: Path) -> None:
    day = datetime(2026, 7, 1, tzinfo=UTC)
    with pytest.raises(DeclarationError, match="only be put into synthetic data"):
        source.load("fraud", source=str(tmp_path), start=day, end=day, seed=0, shift="season")


def test_synthetic_is_the_marketplace() -> None:
    window = {"start": datetime(2026, 7, 1, tzinfo=UTC), "end": datetime(2026, 7, 2, tzinfo=UTC)}
    assert len(source.load("fraud", source="synthetic", seed=7, **window)) > 1000
    assert len(source.load("listing", source="synthetic", seed=7, shift="camera_change", **window)) == 8
