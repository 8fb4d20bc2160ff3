from __future__ import annotations

import io
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipcrop import terminal
from zipcrop.terminal import printable


@pytest.mark.parametrize(
    "text", ["", "a b.jpg", "Größe 日本 😀 é", "می\u200cخواهم", "👩\u200d👧", "1\u00a0kg", "全角\u3000空白", "C:\\x41"]
)
def test_what_can_be_shown_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", r"a\x0ab"),
        ("\r\x1b[2J", r"\x0d\x1b[2J"),
        ("\x7f\x85\x9b", r"\x7f\x85\x9b"),
        ("evil\u202egpj.exe", r"evil\u202egpj.exe"),
        ("\u200e\u2066\u2069\u061c", r"\u200e\u2066\u2069\u061c"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_does_harm_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(), max_size=20))
def test_any_text_becomes_one_harmless_line(text: str) -> None:
    shown = printable(text)
    assert len(f"{shown}.".splitlines()) == 1
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(each) for each in shown} & {"LRE", "LRO", "RLE", "RLO", "LRI", "RLI", "FSI"}
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "Größe … 日\\x0a\n"), ("ascii", "Gr\\xf6\\xdfe \\u2026 \\u65e5\\x0a\n")]
)
def test_a_line_is_said_in_any_encoding(encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(file, encoding=encoding))
    terminal.say("Größe … 日\n")
    assert file.getvalue().decode(encoding) == shown
