"""Photos: bounded before they are decoded, upright, the same at every size they come in."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import resource
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from hallmark.errors import HallmarkError
from hallmark.features import image
from hallmark.features.image import BadImage


def garment(width: int = 120, height: int = 160) -> Image.Image:
    """A red shirt on a blue ground, with a mark in the upper left corner that tells which way is up."""
    photo = Image.new("RGB", (width, height), (40, 60, 160))
    draw = ImageDraw.Draw(photo)
    draw.rectangle((width // 4, height // 4, 3 * width // 4, 7 * height // 8), fill=(200, 40, 40))
    draw.rectangle((0, 0, width // 5, height // 5), fill=(250, 250, 250))
    return photo


def saved(photo: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    photo.save(stream, form, **options)
    return stream.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *extra: bytes, depth: int = 8, colour: int = 2) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" * 5_000_000, 9))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + body + chunk(b"IEND", b"")


def exif(orientation: int) -> bytes:
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1) + entry + struct.pack("<I", 0)


def peak() -> int:
    """The most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_each_format_comes_as_bytes_of_the_asked_size(form: str) -> None:
    got = image.pixels(saved(garment(), form, quality=95), size=(96, 80))
    wanted = np.asarray(garment().resize((80, 96), Image.Resampling.BILINEAR))
    assert got.shape == (96, 80, 3)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - wanted).mean() < 4


def test_batch_is_channels_first_and_normalised() -> None:
    white, black = Image.new("RGB", (50, 50), "white"), Image.new("RGB", (50, 50), "black")
    got = image.batch(
        [saved(white, "PNG"), saved(black, "PNG")], size=(8, 8), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0)
    )
    assert got.dtype == np.float32
    assert got.shape == (2, 3, 8, 8)
    assert got[0, :, 0, 0] == pytest.approx([1.0, 3.0, 1.0])
    assert got[1, :, 0, 0] == pytest.approx([-1.0, -1.0, 0.0])


def test_an_empty_batch_is_empty() -> None:
    assert image.batch([], size=(8, 8)).shape == (0, 3, 8, 8)
    assert image.statistics([])["brightness"].shape == (0,)


def test_letterbox_keeps_the_sides_ratio() -> None:
    got = image.pixels(saved(Image.new("RGB", (200, 100), "white"), "PNG"), size=(40, 40), fit="letterbox")
    assert (got[10:30] == 255).all()
    assert (got[:10] == 127).all()
    assert (got[30:] == 127).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_turned_photo_comes_upright(form: str, orientation: int) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = garment() if orientation == 1 else garment().transpose(Image.Transpose(undo[orientation]))
    options = {"exif": exif(orientation)[6:] if form == "PNG" else exif(orientation)}
    got = image.pixels(saved(stored, form, quality=95, **options), size=(80, 60)).astype(int)
    wanted = image.pixels(saved(garment(), "PNG"), size=(80, 60)).astype(int)
    assert np.abs(got - wanted).mean() < 4


def test_a_camera_photo_looks_as_its_thumbnail_does() -> None:
    large = garment().resize((3000, 4000), Image.Resampling.BICUBIC)
    thumbnail = large.resize((120, 160), Image.Resampling.LANCZOS)
    near = image.pixels(saved(large, quality=92), size=(96, 96)).astype(int)
    far = image.pixels(saved(thumbnail, quality=92), size=(96, 96)).astype(int)
    assert np.abs(near - far).mean() < 3


def test_a_camera_photo_is_never_held_whole() -> None:
    data = saved(garment().resize((4000, 3000)))
    decoded, _ = image.decode(data, at_least=96)
    assert decoded.size == (500, 375)


def test_modes_other_than_rgb_are_read() -> None:
    grey = Image.new("L", (40, 40), 128)
    deep = Image.fromarray(np.full((40, 40), 128 * 256, dtype=np.uint16))
    palette = garment().quantize(16)
    clear = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    cmyk = Image.new("CMYK", (40, 40), (0, 0, 0, 127))
    assert image.pixels(saved(grey, "PNG"), size=(4, 4)).mean() == pytest.approx(128)
    assert image.pixels(saved(deep, "PNG"), size=(4, 4)).mean() == pytest.approx(128)
    assert image.pixels(saved(palette, "PNG"), size=(4, 4)).shape == (4, 4, 3)
    assert image.pixels(saved(clear, "PNG"), size=(4, 4)).min() == 255
    assert image.pixels(saved(cmyk, "JPEG"), size=(4, 4)).mean() == pytest.approx(128, abs=3)
    assert image.pixels(saved(grey, "JPEG"), size=(4, 4)).mean() == pytest.approx(128, abs=3)


def test_a_moving_picture_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    for form in ("PNG", "WEBP"):
        data = saved(frames[0], form, save_all=True, append_images=frames[1:], lossless=True)
        assert image.pixels(data, size=(4, 4))[0, 0].tolist() == pytest.approx([255, 0, 0], abs=3)


def test_a_bomb_is_refused_from_its_header() -> None:
    bomb = png(11_585, 11_585)
    assert len(bomb) < 10_240
    before, started = peak(), time.perf_counter()
    with pytest.raises(BadImage, match="too many pixels"):
        image.batch([bomb], size=(96, 96))
    assert time.perf_counter() - started < 0.010
    assert peak() - before <= 1


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_more_pixels_than_allowed_are_refused(form: str) -> None:
    limits = image.PhotoLimits(scalable_pixels=10_000, pixels=10_000)
    data = saved(garment(101, 100), form)
    with pytest.raises(BadImage, match="at most 10000"):
        image.pixels(data, size=(8, 8), limits=limits)
    assert image.pixels(saved(garment(100, 100), form), size=(8, 8), limits=limits).shape == (8, 8, 3)


def test_a_progressive_jpeg_is_held_to_the_limit_of_what_is_decoded_whole() -> None:
    photo = garment(200, 200)
    limits = image.PhotoLimits(scalable_pixels=50_000, pixels=10_000)
    assert image.header(saved(photo), limits=limits).scalable
    with pytest.raises(BadImage, match="at most 10000"):
        image.header(saved(photo, progressive=True), limits=limits)


def test_text_in_a_png_is_never_unpacked() -> None:
    text = chunk(b"zTXt", b"comment\0\0" + zlib.compress(b"a" * 1_000_000))
    found = image.header(png(10, 10, text))
    assert b"zTXt" not in found.pixels_only
    assert b"IDAT" in found.pixels_only


def test_what_an_application_wrote_into_a_jpeg_never_reaches_the_decoder() -> None:
    data = saved(garment(), exif=exif(1), icc_profile=b"x" * 500, comment=b"secret")
    found = image.header(data)
    assert b"secret" in data
    assert b"secret" not in found.pixels_only
    assert b"Exif" not in found.pixels_only
    assert b"ICC_PROFILE" not in found.pixels_only


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a photo"),
        (b"GIF89a" + b"\0" * 40, "not a photo"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a photo"),
        ("a string", "not a photo"),
        (None, "not a photo"),
        (b"\xff\xd8\xff", "header is damaged"),
        (b"\xff\xd8\xff\xe0\xff\xff\0", "header is damaged"),
        (b"\x89PNG\r\n\x1a\n", "header is damaged"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "header is damaged"),
        (b"RIFF\x40\0\0\0WEBPNONE" + b"\0" * 40, "header is damaged"),
        (png(0, 10), "impossible sides"),
        (png(1, 20_000), "impossible sides"),
        (png(10, 10, depth=3), "cannot be decoded"),
        (saved(garment())[:900], "cannot be decoded"),
        (saved(garment(), "PNG")[:200], "cannot be decoded"),
        (saved(garment(), "WEBP")[:200], "cannot be decoded"),
        (b"\xff\xd8\xff" + b"\0" * 11_000_000, "too large"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value).replace(" ", "-"),
)
def test_what_is_no_whole_photo_is_refused_by_name(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason) as caught:
        image.pixels(data, size=(8, 8))
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, HallmarkError)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf", "HEIF"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a video"),
        (saved(garment(), "AVIF"), "AVIF"),
        (saved(garment(), "GIF"), "GIF"),
        (saved(garment(), "BMP"), "BMP"),
        (saved(garment(), "TIFF"), "TIFF"),
        (saved(garment(), "PDF"), "PDF"),
        (saved(garment(), "JPEG2000"), "JPEG 2000"),
        (b"\xef\xbb\xbf  <svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?><svg/>", "XML or SVG"),
        (b"<!DOCTYPE HTML><html>", "a web page"),
        (base64.b64encode(saved(garment())), "a JPEG that was encoded as base64 twice"),
        (base64.b64encode(saved(garment(), "PNG")), "a PNG that was encoded as base64 twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_b17_a_photo_of_a_format_that_is_not_read_is_named(data: bytes, name: str) -> None:
    with pytest.raises(BadImage, match=f"this is {name}.*not a photo that is read here") as caught:
        image.header(data + b"\0" * 40)
    assert caught.value.expected == "a JPEG, PNG or WebP file"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.examples
@given(places=st.lists(st.tuples(st.integers(0, 1_000_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_photo_gives_pixels_or_bad_image_and_nothing_else(form: str, places: list[tuple[int, int]]) -> None:
    data = bytearray(saved(garment(), form, exif=exif(6)))
    for place, value in places:
        data[place % min(len(data), 700)] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with contextlib.suppress(BadImage):
            assert image.pixels(bytes(data), size=(8, 8)).shape == (8, 8, 3)


def test_statistics_are_one_number_a_photo() -> None:
    photos = [saved(garment()), saved(garment(200, 100))]
    columns = image.statistics(photos)
    assert tuple(columns) == image.STATISTICS
    assert all(values.shape == (2,) and np.isfinite(values).all() for values in columns.values())
    assert columns["aspect"].tolist() == [0.75, 2.0]
    assert columns["megapixels"].tolist() == [0.0192, 0.02]


def test_statistics_of_a_plain_photo_are_those_computed_by_hand() -> None:
    columns = image.statistics([saved(Image.new("RGB", (60, 80), (255, 0, 0)), "PNG")])
    assert columns["brightness"][0] == pytest.approx(0.299)
    assert columns["contrast"][0] == pytest.approx(0.0, abs=1e-9)
    assert columns["colourfulness"][0] == pytest.approx(0.3 * np.hypot(1.0, 0.5))
    assert columns["sharpness"][0] == pytest.approx(-6.0)


def test_statistics_move_with_what_a_camera_changes() -> None:
    from PIL import ImageEnhance, ImageFilter

    plain = garment()
    dark = ImageEnhance.Brightness(plain).enhance(0.5)
    flat = ImageEnhance.Contrast(plain).enhance(0.4)
    pale = ImageEnhance.Color(plain).enhance(0.2)
    soft = plain.filter(ImageFilter.GaussianBlur(4))
    before = image.statistics([saved(plain, "PNG")])
    for changed, column in ((dark, "brightness"), (flat, "contrast"), (pale, "colourfulness"), (soft, "sharpness")):
        assert image.statistics([saved(changed, "PNG")])[column][0] < before[column][0]


def test_a_photo_is_decoded_once_for_all_that_read_it_at_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[int, int]] = []
    upright = image._upright

    def counted(picture: Image.Image, orientation: int) -> Image.Image:
        decoded.append(picture.size)
        return upright(picture, orientation)

    monkeypatch.setattr(image, "_upright", counted)
    photo = saved(garment(1200, 900))

    def read() -> list[list[float]]:
        told = image.statistics([photo]).values()
        return [
            image.pixels(photo, size=(64, 64)).ravel().tolist(),
            *(each.tolist() for each in told),
            *image.descriptors([photo]).tolist(),
        ]

    alone, times = read(), len(decoded)
    decoded.clear()
    with image.shared():
        assert read() == alone
    assert times == 3 and decoded == [(300, 225), (150, 113)]


def test_large_photos_are_not_kept_for_others_to_read() -> None:
    photos = [saved(Image.new("RGB", (2000, 2000), (at, 0, 0)), "PNG") for at in range(3)]
    with image.shared():
        first = image.statistics(photos)
        kept = image._shared.get()
        assert kept is not None and len(kept) == 1  # of 12 MB each
        assert image.statistics(photos)["brightness"].tolist() == first["brightness"].tolist()


def test_photos_read_by_several_threads_are_those_read_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within `shared` too; and of several that fail, the first in their order is told."""
    random = np.random.default_rng(3)
    photos: list[bytes | None] = [
        saved(Image.fromarray(random.integers(0, 256, (400 + 8 * at, 500, 3), dtype=np.uint8))) for at in range(12)
    ]
    photos[5] = None
    assert sum(map(len, filter(None, photos))) > image._WORTH

    def read() -> list[list[Any]]:
        with image.shared():
            told = image.statistics(photos)
            stacked = image.stack(photos, size=(64, 64))
            normal, described = image.batch(photos, size=(64, 48)), image.descriptors(photos)
        return [each.tolist() for each in (*told.values(), stacked, normal, described)]

    used: set[int] = set()
    decode = image.decode

    def told(*given: Any, **more: Any) -> Any:
        used.add(threading.get_ident())
        return decode(*given, **more)

    monkeypatch.setattr(image, "decode", told)
    monkeypatch.setattr(image, "cores", lambda **_: 1)
    alone = read()
    assert used == {threading.get_ident()}
    monkeypatch.setattr(image, "cores", lambda **_: 4)
    image._threads.cache_clear()
    for _ in range(5):
        assert json.dumps(read()) == json.dumps(alone)
    assert len(used) > 1
    photos[7], photos[9] = photos[7][:-2000], b"no photo"  # type: ignore[index]
    for _ in range(20):
        with pytest.raises(image.BadImage, match="cannot be decoded"):
            image.stack(photos, size=(64, 64))
    image._threads().shutdown()
    image._threads.cache_clear()


FORKED = """
import os
import numpy as np
from PIL import Image
from io import BytesIO
from hallmark.features import image
stream = BytesIO()
Image.effect_noise((800, 800), 90).convert("RGB").save(stream, "jpeg")
photos = [stream.getvalue()] * 4
image.cores = lambda **_: 2
first = image.stack(photos, size=(32, 32))
with image._keeping:
    child = os.fork()
if child == 0:
    with image.shared():
        os._exit(int(not (image.stack(photos, size=(32, 32)) == first).all()))
raise SystemExit(os.waitpid(child, 0)[1])
"""


def test_a_forked_process_has_threads_of_its_own() -> None:
    """As each worker of a model server is one."""
    assert subprocess.run([sys.executable, "-c", FORKED], timeout=30).returncode == 0
