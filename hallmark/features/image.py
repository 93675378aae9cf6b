"""Photos as numbers: bounded before they are decoded, and decoded the same way in training, serving and the drift monitor.

A photo's header is read by hand first, so that a bomb is refused before a decoder sees it, and the decoder is handed
only the segments that describe pixels: no EXIF, colour profiles or compressed text of a stranger's making.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from threading import Lock
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hallmark.cores import cores
from hallmark.errors import HallmarkError
from hallmark.features.fields import Columns

Fit = Literal["stretch", "letterbox"]


class BadImage(HallmarkError, ValueError):
    """A photo that is never decoded, or that could not be; a server answers 4xx."""


@dataclass(frozen=True)
class PhotoLimits:
    """Allowed size of a photo. A baseline JPEG is decoded at a fraction of its size, so it may have more pixels."""

    bytes: int = 10 * 1024 * 1024
    scalable_pixels: int = 4096 * 4096
    pixels: int = 2048 * 2048
    side: int = 16_384


LIMITS = PhotoLimits()
STATISTICS = ("brightness", "contrast", "colourfulness", "sharpness", "aspect", "megapixels")
"""Columns that `statistics` returns, in order."""
DESCRIBED = 46
"""Numbers that `descriptors` gives of a photo."""


class PhotoHeader(NamedTuple):
    """Header of a photo: its size as stored, before it is rotated by `orientation` (EXIF's 1 to 8)."""

    format: Literal["JPEG", "PNG", "WEBP"]
    width: int
    height: int
    orientation: int
    scalable: bool
    pixels_only: bytes


_SHARED_BYTES = 16 * 1024 * 1024
_Pictures = dict[tuple[int, tuple[int, int]], tuple[bytes, Image.Image]]
_shared: ContextVar[_Pictures | None] = ContextVar("_shared", default=None)
"""Pictures that were decoded within `shared`, by the photo and the size that it was decoded at; the photo is kept, so that its id stays its own."""
_keeping = Lock()
_WORTH = 64 * 1024
"""Bytes of photos from which on handing them to threads costs less than it saves."""


@contextmanager
def shared() -> Iterator[None]:
    """Decode each photo once for all that reads it at one size within the block; of large ones, 16 MiB of pixels are kept and no more."""
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def header(data: bytes, *, limits: PhotoLimits = LIMITS) -> PhotoHeader:
    """The header of a photo within `limits`, or `BadImage`; allocates nothing in proportion to the pixels."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise BadImage("this is not a photo", expected="the bytes of a file", got=type(data).__name__)
    data = bytes(data)
    if len(data) > limits.bytes:
        raise BadImage("the photo is too large", expected=f"at most {limits.bytes} bytes", got=str(len(data)))
    try:
        found = _read(data)
    except BadImage:
        raise
    except (IndexError, ValueError) as error:
        raise BadImage("the photo's header is damaged", expected="a whole file", got=_brief(error)) from error
    allowed = limits.scalable_pixels if found.scalable else limits.pixels
    if min(found.width, found.height) < 1 or max(found.width, found.height) > limits.side:
        raise BadImage(
            "the photo has impossible sides",
            expected=f"1 to {limits.side} pixels",
            got=f"{found.width}x{found.height}",
        )
    if found.width * found.height > allowed:
        raise BadImage(
            "the photo has too many pixels", expected=f"at most {allowed}", got=f"{found.width}x{found.height}"
        )
    return found


def decode(data: bytes, *, at_least: int, limits: PhotoLimits = LIMITS) -> tuple[Image.Image, PhotoHeader]:
    """The photo upright in RGB, not to be changed, with its header; a large JPEG comes at a fraction, no side under 2 x `at_least`."""
    found = header(data, limits=limits)
    try:
        with Image.open(BytesIO(found.pixels_only), formats=[found.format]) as image:
            if image.size != (found.width, found.height):
                raise BadImage(
                    "the photo contradicts itself", expected=f"{found.width}x{found.height}", got=str(image.size)
                )
            if found.scalable:
                image.draft("RGB", _draft_size(image.size, at_least=at_least))
            pictures, key = _shared.get(), (id(data), image.size)
            if pictures is not None and key in pictures:
                return pictures[key][1], found
            image.load()
            upright = _upright(_rgb(image), found.orientation)
    except BadImage:
        raise
    except (OSError, SyntaxError, ValueError, IndexError, EOFError, OverflowError) as error:
        # what Pillow's three decoders raise for damaged files
        raise BadImage("the photo cannot be decoded", expected=f"a whole {found.format}", got=_brief(error)) from error
    if pictures is not None:
        with _keeping:
            held = sum(each.width * each.height for _, each in (*pictures.values(), (data, upright)))
            if 3 * held <= _SHARED_BYTES:
                pictures[key] = data, upright
    return upright, found


def pixels(
    data: bytes, *, size: tuple[int, int], fit: Fit = "stretch", limits: PhotoLimits = LIMITS
) -> NDArray[np.uint8]:
    """A photo at `size` (height, width): (height, width, 3) RGB bytes."""
    image, _ = decode(data, at_least=max(size), limits=limits)
    return _fitted(image, size, fit)


def stack(
    photos: Iterable[bytes | None], *, size: tuple[int, int], fit: Fit = "stretch", limits: PhotoLimits = LIMITS
) -> NDArray[np.uint8]:
    """Photos at `size` (height, width): (n, 3, height, width) RGB bytes, None as zeros; decoded on as many cores as there are."""
    items = list(photos)
    out = np.zeros((len(items), 3, *size), dtype=np.uint8)

    def read(row: int, data: bytes) -> None:
        out[row] = pixels(data, size=size, fit=fit, limits=limits).transpose(2, 0, 1)

    _each(items, read)
    return out


def batch(
    photos: Iterable[bytes | None],
    *,
    size: tuple[int, int],
    mean: Sequence[float] = (0.5, 0.5, 0.5),
    std: Sequence[float] = (0.25, 0.25, 0.25),
    fit: Fit = "stretch",
    limits: PhotoLimits = LIMITS,
) -> NDArray[np.float32]:
    """Photos as a model's input: (n, 3, height, width), each channel less `mean`, over `std` (of 0..1); None as zeros."""
    items = list(photos)
    out = np.zeros((len(items), 3, *size), dtype=np.float32)
    scale = (1.0 / (255.0 * np.asarray(std))).astype(np.float32)[:, None, None]
    shift = (np.asarray(mean) / np.asarray(std)).astype(np.float32)[:, None, None]

    def read(row: int, data: bytes) -> None:
        np.multiply(pixels(data, size=size, fit=fit, limits=limits).transpose(2, 0, 1), scale, out=out[row])
        out[row] -= shift

    _each(items, read)
    return out


def statistics(photos: Iterable[bytes | None], *, limits: PhotoLimits = LIMITS) -> Columns:
    """Properties that a camera or its user changes, one number per photo: float64 columns named by `STATISTICS`.

    brightness: mean of luma, 0..1; contrast: its deviation; colourfulness: after Hasler and Süsstrunk (2003), 0..about 1;
    sharpness: log10 of the variance of the Laplacian; aspect: width over height, upright; megapixels: as stored.
    NaN for a photo that is not there (None).
    """
    items = list(photos)
    table = np.full((len(items), len(STATISTICS)), np.nan)

    def read(row: int, data: bytes) -> None:
        table[row] = _statistics(data, limits)

    _each(items, read)
    return {name: np.ascontiguousarray(table[:, column]) for column, name in enumerate(STATISTICS)}


def descriptors(photos: Iterable[bytes | None], *, limits: PhotoLimits = LIMITS) -> NDArray[np.float32]:
    """(n, 46) float32, what a photo looks like without a network, for telling two sets of photos apart.

    Of the photo at 48 x 48: mean red, green, blue of 3 x 3 cells (27); deviation of each channel (3); the share of strong
    edges by direction, 8 turns of 22.5 degrees (8); log10 of the energy of detail at 4 scales, of luma (4)
    and of red less blue (4). NaN for a photo that cannot be read or is not there (None).
    """
    items = list(photos)
    table = np.full((len(items), DESCRIBED), np.nan, dtype=np.float32)

    def read(row: int, data: bytes) -> None:
        table[row] = _descriptors(data, limits)

    _each(items, read)
    return table


def _each(photos: Sequence[bytes | None], read: Callable[[int, bytes], None]) -> None:
    """Read each photo that is there, with its place; the first that fails, by its place, fails the whole.

    Large ones are read on as many cores as there are: Pillow gives Python's lock free while it decodes.
    """
    there = deque((row, data) for row, data in enumerate(photos) if data is not None)
    large = sum(len(data) for _, data in there if isinstance(data, bytes)) >= _WORTH
    count = min(len(there), cores(threads=os.environ.get("OMP_NUM_THREADS", ""))) if large else 1
    failed: list[tuple[int, Exception]] = []

    def work() -> None:
        while there and not failed:
            with suppress(IndexError):  # another thread took the last one
                row, data = there.popleft()
                try:
                    read(row, data)
                except Exception as error:  # noqa: BLE001  # raised below, by whoever asked
                    failed.append((row, error))

    helpers = [_threads().submit(copy_context().run, work) for _ in range(count - 1)]
    try:
        work()
    finally:
        there.clear()
        for helper in helpers:
            if not helper.cancel():
                helper.result()
    if failed:
        raise min(failed, key=lambda each: each[0])[1]


@cache
def _threads() -> ThreadPoolExecutor:
    """This process' threads for photos, beside the one that asks."""
    return ThreadPoolExecutor(max(1, cores() - 1), thread_name_prefix="photos")


def _forked() -> None:
    """A child has none of its parent's threads, and nobody who gives back a lock that one of them held."""
    global _keeping
    _keeping = Lock()
    _threads.cache_clear()


os.register_at_fork(after_in_child=_forked)


def _descriptors(data: bytes, limits: PhotoLimits) -> NDArray[np.float64]:
    try:
        image, _ = decode(data, at_least=48, limits=limits)
    except BadImage:
        return np.full(DESCRIBED, np.nan)
    rgb = _fitted(image, (48, 48), "stretch").astype(np.float64) / 255.0
    cells = rgb.reshape(3, 16, 3, 16, 3).mean(axis=(1, 3)).ravel()
    luma, warm = rgb @ (0.299, 0.587, 0.114), rgb[..., 0] - rgb[..., 2]
    down, across = np.gradient(luma)
    strength, turn = np.hypot(down, across), np.arctan2(down, across) % np.pi
    edges = np.bincount((turn / np.pi * 8).astype(np.int64).ravel() % 8, weights=strength.ravel(), minlength=8)
    detail = [energy for plane in (luma, warm) for energy in _detail(plane)]
    return np.concatenate([cells, rgb.std(axis=(0, 1)), edges / max(1e-9, edges.sum()), detail])


def _detail(plane: NDArray[np.float64]) -> list[float]:
    """log10 of the mean square of what is lost at each halving of a plane."""
    found = []
    for _ in range(4):
        side = plane.shape[0] // 2
        half = plane.reshape(side, 2, side, 2).mean(axis=(1, 3))
        lost = plane - half.repeat(2, axis=0).repeat(2, axis=1)
        found.append(float(np.log10((lost**2).mean() + 1e-7)))
        plane = half
    return found


def _statistics(data: bytes, limits: PhotoLimits) -> tuple[float, ...]:
    image, found = decode(data, at_least=96, limits=limits)
    rgb = _fitted(image, (96, 96), "stretch").astype(np.float64) / 255.0
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    rg, yb = red - green, 0.5 * (red + green) - blue
    colourful = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4.0 * luma[1:-1, 1:-1]
    sharp = np.log10(laplacian.var() + 1e-6)
    aspect, megapixels = image.width / image.height, found.width * found.height / 1e6
    return float(luma.mean()), float(luma.std()), float(colourful), float(sharp), aspect, megapixels


def _fitted(image: Image.Image, size: tuple[int, int], fit: Fit) -> NDArray[np.uint8]:
    height, width = size
    if fit == "stretch":
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.uint8)
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    out = np.full((height, width, 3), 127, dtype=np.uint8)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    out[top : top + inner[1], left : left + inner[0]] = np.asarray(image.resize(inner, Image.Resampling.BILINEAR))
    return out


def _draft_size(size: tuple[int, int], *, at_least: int) -> tuple[int, int]:
    """The size to ask of libjpeg, whose answer is never smaller: the short side stays at 2 x `at_least` or above."""
    factor = max(1.0, min(size) / (2 * at_least))
    return max(1, int(size[0] / factor)), max(1, int(size[1] / factor))


def _rgb(image: Image.Image) -> Image.Image:
    """In RGB, on white where it was transparent; 16-bit grey by its upper byte."""
    if image.mode == "RGB":
        return image.copy()
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _read(data: bytes) -> PhotoHeader:
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    kind = format_of(data)
    raise BadImage(
        f"this is {kind}, not a photo that is read here" if kind else "this is not a photo that is read here",
        expected="a JPEG, PNG or WebP file",
        got=kind or f"{len(data)} bytes that begin with {data[:8].hex(' ') or 'nothing'}",
        fix="convert it to JPEG" if kind else "",
    )


_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"%PDF": "PDF",
    b"8BPS": "PSD",
    b"\0\0\1\0": "ICO",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"<svg": "SVG",
    b"<?xml": "XML or SVG",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"data:image/": "a data URL",
    b"/9j/": "a JPEG that was encoded as base64 twice",
    b"iVBORw0KGgo": "a PNG that was encoded as base64 twice",
}
_BRANDS = {
    "AVIF": {b"avif", b"avis"},
    "HEIC": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"},
    "HEIF": {b"mif1", b"mif2", b"msf1"},
}
"""Brands of ISO's container by what they are; one that is of several (mif1, then avif) is the first of these."""


def format_of(data: bytes) -> str:
    """The name of the format that a file's first bytes say, read here or not; empty where they say none."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        size = min(int.from_bytes(data[:4]), 256)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
        return next((name for name, known in _BRANDS.items() if brands & known), "a video or another ISO file")
    text = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    return next(
        (name for magic, name in _MAGIC.items() if data.startswith(magic) or text.lower().startswith(magic)), ""
    )


def _jpeg(data: bytes) -> PhotoHeader:
    """Walks the segments up to the first scan; drops what an application put in, keeps Adobe's colour transform."""
    at, orientation, frame, progressive, kept = 2, 1, None, False, [data[:2]]
    while True:
        if data[at] != 0xFF:
            raise ValueError("no marker where one was due")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4])
        body, end = data[at + 4 : at + 2 + length], at + 2 + length
        if length < 2 or end > len(data):
            raise ValueError("a segment longer than the file")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if frame is not None:
                raise ValueError("two frames")
            frame = (int.from_bytes(body[3:5]), int.from_bytes(body[1:3]))
            progressive = marker not in (0xC0, 0xC1)
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = _orientation(body[6:])
        if (not 0xE0 <= marker <= 0xEF and marker != 0xFE) or marker == 0xEE:
            kept.append(data[at:end])
        if marker == 0xDA:
            break
        at = end
    if frame is None:
        raise ValueError("no frame before the first scan")
    return PhotoHeader("JPEG", *frame, orientation, not progressive, b"".join((*kept, data[end:])))


def _png(data: bytes) -> PhotoHeader:
    """Keeps the chunks that make pixels, so nothing else is ever unpacked."""
    if data[12:16] != b"IHDR" or int.from_bytes(data[8:12]) != 13 or len(data) < 33:
        raise ValueError("no IHDR")
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    at, orientation, kept = 8, 1, [data[:8]]
    while at + 12 <= len(data):
        name, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4])
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(data[at:end])
        elif name == b"eXIf":
            orientation = _orientation(data[at + 8 : end - 4])
        at = end
    return PhotoHeader("PNG", width, height, orientation, False, b"".join(kept))


def _webp(data: bytes) -> PhotoHeader:
    chunk, body = data[12:16], data[20:30]
    if len(data) < 30:
        raise ValueError("cut off")
    if chunk == b"VP8 ":
        width, height = int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    elif chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8X":
        width, height = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    else:
        raise ValueError("no VP8 chunk")
    at, orientation = 12, 1
    while chunk == b"VP8X" and at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"EXIF":
            orientation = _orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + (length & 1)
    return PhotoHeader("WEBP", width, height, orientation, False, data)


def _orientation(tiff: bytes) -> int:
    """EXIF's orientation from a TIFF block, 1 where there is none or the block is damaged."""
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
    start = int.from_bytes(tiff[4:8], order)
    for entry in range(min(int.from_bytes(tiff[start : start + 2], order), 64)):
        at = start + 2 + 12 * entry
        if int.from_bytes(tiff[at : at + 2], order) == 0x0112:
            value = int.from_bytes(tiff[at + 8 : at + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1


def _brief(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:120] or type(error).__name__
