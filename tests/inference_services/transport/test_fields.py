"""Header blocks are read as the hpack package reads them, and remembered only while they mean the same."""

from __future__ import annotations

import random

import hpack
import pytest

from inference_services.transport.fields import HeaderError, Headers, ReceivedHeaders, literal, percent

CALL = [(":method", "POST"), (":scheme", "http"), (":path", "/toy/Echo"), ("content-type", "application/grpc")]


def test_blocks_are_read_as_hpack_reads_them() -> None:
    dice = random.Random(1)
    for _ in range(60):
        encoder, table = hpack.Encoder(), ReceivedHeaders(weight=100_000, count=1000)
        for _ in range(30):
            fields = [
                (f"name-{dice.randrange(12)}-{at}", "ab%\x7f~ é/"[dice.randrange(8) :] * dice.randrange(40))
                for at in range(dice.randrange(8))
            ]
            if dice.random() < 0.1:
                encoder.header_table_size = dice.choice((0, 100, 4096))
            block = encoder.encode(
                [(*pair, dice.random() < 0.2) for pair in [*CALL, *fields]], huffman=dice.random() < 0.5
            )
            found = table.read(block)
            assert found.status == 200
            assert dict(found.fields) == {k.encode(): v.encode() for k, v in [*CALL[3:], *fields]}


def test_what_a_block_meant_is_forgotten_with_the_table() -> None:
    encoder, table = hpack.Encoder(), ReceivedHeaders(weight=10_000, count=100)
    table.read(encoder.encode(CALL))
    again = encoder.encode([*CALL, ("x", "1")])
    first = table.read(again)
    known = encoder.encode([*CALL, ("x", "1")])
    assert table.read(known) == first
    assert table.read(known) is table.read(known)
    table.read(encoder.encode([*CALL, ("x", "2")]))
    assert table.read(known) != first


def test_a_block_that_changes_the_table_changes_it_every_time() -> None:
    table, plain = ReceivedHeaders(weight=10_000, count=100), hpack.Encoder().encode([(*pair, True) for pair in CALL])
    add = plain + b"\x40\x01a\x01"
    for value in (b"1", b"2", b"2", b"2"):
        table.read(add + value)
    last, before = table.read(plain + b"\xc0"), table.read(plain + b"\xc1")  # the third newest, the fourth
    assert (last.fields[b"a"], before.fields[b"a"]) == (b"2", b"1")


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("1H", 3600), ("2M", 120), ("3S", 3), ("4m", 0.004), ("5u", 5e-6), ("99999999n", 0.099999999)],
)
def test_timeouts_in_every_unit(given: str, seconds: float) -> None:
    found = ReceivedHeaders(weight=10_000, count=100).read(hpack.Encoder().encode([*CALL, ("grpc-timeout", given)]))
    assert found.timeout == pytest.approx(seconds)


def test_no_block_breaks_the_reader() -> None:
    dice = random.Random(2)
    good = hpack.Encoder().encode([*CALL, ("x", "y" * 50), ("user-agent", "grpc")])
    read = 0
    for _ in range(5000):
        data = bytearray(good if dice.random() < 0.7 else dice.randbytes(dice.randrange(1, 60)))
        for _ in range(dice.randrange(4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            read += isinstance(ReceivedHeaders(weight=10_000, count=100).read(bytes(data)), Headers)
        except HeaderError:
            continue
    assert read > 100


def test_what_is_written_can_be_read() -> None:
    written = b"\x88" + literal("x-long", "v" * 300) + literal("grpc-message", percent("100 % é\n"))
    fields = hpack.Decoder().decode(written)
    assert [(str(name), str(value)) for name, value in fields] == [
        (":status", "200"),
        ("x-long", "v" * 300),
        ("grpc-message", "100 %25 %C3%A9%0A"),
    ]
