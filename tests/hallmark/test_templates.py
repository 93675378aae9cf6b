"""YAML templates: values that cannot break out, and errors that name the line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from hallmark import templates
from hallmark.templates import TemplateBroken, toyaml

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)

Fill = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fill]:
    """Fills a text as if it were a template of the package."""
    monkeypatch.setattr(templates, "ROOT", tmp_path)
    templates._environment.cache_clear()

    def filled(text: str, **values: Any) -> list[dict[str, Any]]:
        (tmp_path / "made.yaml").write_text(text, encoding="utf-8")
        templates._environment.cache_clear()
        return templates.objects("made.yaml", **values)

    yield filled
    templates._environment.cache_clear()


@given(VALUES)
@example("a: b # c\n- \"d\" 'e' \\ {{ f }} <{ g }> %h &i *j !k | > @ ` \x85\u2028\u2029\ufeff\0\x7f\U0001f600")
@example([1e-05, 1e300, -0.0, 5e-324])
@example({"yes": "no", "1": "1e3", "~": "2024-01-01", "": None, "=": "<<"})
def test_a_value_comes_back_as_it_was_on_one_line(value: Any) -> None:
    text = toyaml(value)
    assert "\n" not in text
    for place in (text, f"[{text}, {text}]", f"a:\n  - b: {text}\n"):
        assert yaml.load(place, Loader=yaml.CSafeLoader) is not None or value is None
    assert yaml.load(f"a:\n  - b: {text}\n", Loader=yaml.CSafeLoader) == {"a": [{"b": value}]}
    assert yaml.safe_load(f"a: [{text}]") == {"a": [value]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes", {1, 2}])
def test_what_yaml_has_no_plain_form_for_is_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError), match="expected a"):
        toyaml(value)


def test_documents_are_read_as_yaml_reads_them_and_prometheus_braces_stay(fill: Fill) -> None:
    text = """
# Only a comment.
---
<% for name in names %>
---
name: <{ name | toyaml }>
summary: "{{ $value }} of {{ $labels.pod }}"
<# of ours #>
<% if name == "b" %>
list: [1, 1.5, true, null, "1", 0x10]
more: &more {a: 1}
again: *more
<% endif %>
<% endfor %>
"""
    found = fill(text, names=["a", "b: c", "b"])
    plain = {"summary": "{{ $value }} of {{ $labels.pod }}"}
    assert found == [
        {"name": "a", **plain},
        {"name": "b: c", **plain},
        {"name": "b", **plain, "list": [1, 1.5, True, None, "1", 16], "more": {"a": 1}, "again": {"a": 1}},
    ]


@pytest.mark.parametrize(
    ("text", "line", "got"),
    [
        ("a: 1\nb: <{ missing }>\n", 2, "'missing' is undefined"),
        ("a: 1\n\nb: <{ names.missing }>\n", 3, "missing"),
        ("a: 1\n<% if names %>\nb: 2\n", 3, "if"),
        ("a: 1\nb: <{ names | nothing }>\n", 2, "nothing"),
        ("a: 1\nb: <{ thing | toyaml }>\n", 2, "expected a text"),
        ("<% macro m() %>\nb: <{ missing }>\n<% endmacro %>\na: 1\n<{ m() }>\n", 2, "'missing' is undefined"),
        ("a: 1\nb: c: d\n", 2, "mapping values"),
        ("<% for each in names %>\na<{ each }>: 1\n<% endfor %>\n<# two\nlines #>\n  b: [c\n", 6, "mapping values"),
        ("<% if false %>\na: 1\nb: 2\n<% endif %>\nc: <{ two }>\n d\ne: @\n", 7, "cannot start any token"),
        ("a:\n  b: 1\n  <%- if names %>\n\n  c: 2\n  b: 3\n  <% endif %>\n", 2, "a key stands twice"),
        ("a: 1\nb: <{ broken }>\n", 0, "control characters"),
    ],
)
def test_an_error_names_the_template_and_its_line(fill: Fill, text: str, line: int, got: str) -> None:
    with pytest.raises(TemplateBroken) as caught:
        fill(text, names=["x", "y"], thing=object(), two="1\n  2\n  3", broken="\0")
    where = f"hallmark/made.yaml:{line} " if line else "hallmark/made.yaml "
    assert caught.value.message.startswith(where), caught.value
    assert got in caught.value.got


def test_a_template_that_is_not_there_is_named(fill: Fill) -> None:
    with pytest.raises(TemplateBroken, match=r"hallmark/render/none\.yaml"):
        templates.objects("render/none.yaml")
