"""What an error says of somebody's data gives a terminal no orders."""

from __future__ import annotations

from hallmark.errors import DeclarationError, visible


def test_control_characters_are_spelled_out_and_lines_and_tabs_stay() -> None:
    error = DeclarationError("a\x1b[31mred", expected="one\n\ttwo", got="\x00\r\udc80 ü €", fix="\x9b1m")
    assert (error.message, error.expected) == (r"a\x1b[31mred", "one\n\ttwo")
    assert (error.got, error.fix) == (r"\x00\r\udc80 ü €", r"\x9b1m")


def test_what_can_be_printed_stays_as_it_is() -> None:
    text = "5 €, 日本語, naïve ≥ 3 · “quoted”"
    assert visible(text) is text
