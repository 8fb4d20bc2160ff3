from __future__ import annotations

import pytest

from helpers.photos import encoded
from zipcrop.image import selection
from zipcrop.image.selection import NotAnImage


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("__MACOSX/._a.jpg", "macOS metadata"),
        ("x/__MACOSX/a.jpg", "macOS metadata"),
        ("x__MACOSX/a.jpg", ""),
        ("notes.txt", "not an image"),
        ("sub/a", ""),
        ("a.jpg", ""),
        ("no suffix", ""),
        ("", ""),
    ],
)
def test_files_that_are_skipped_for_their_names(name: str, reason: str) -> None:
    assert selection.reason_to_skip(name) == reason


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        (".DS_Store", b"\0\0\0\1Bud1", "not an image"),
        ("README", b"text", "not an image"),
        ("._a.jpg", b"\0\5\x16\7" + bytes(40), "macOS metadata"),
    ],
)
def test_files_that_are_skipped_for_their_contents(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(NotAnImage, match=reason):
        selection.require_image(name, data)


def test_a_photo_may_have_no_suffix() -> None:
    selection.require_image("IMG_0001", encoded("bus"))
