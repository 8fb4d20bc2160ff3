from __future__ import annotations

import pytest

from zipcrop.report import label


def test_labels_of_sheets_sort_by_rank_and_cannot_end_a_script() -> None:
    archives = [f"a{i}</script>" for i in range(12)]
    labels = [label.of_sheet(archives, rank) for rank in range(1, 13)]
    assert labels == sorted(labels)
    assert not any("<" in each for each in labels)
    assert labels[11] == "0012 a11‹/script>"


def test_labels_of_sheets_leave_room_for_the_sheet() -> None:
    assert label.of_sheet(["word " * 40], 1) == "0001 word word word wo… word word word "


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("short", "short"),
        ("x" * 40, "x" * 17 + "…" + "x" * 16),
        ("写真" * 20, "写真写真写真写真…写真写真写真写真"),
        ("a\nb", "a\\x0ab"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_long_names_lose_their_middle(name: str, shown: str) -> None:
    assert label.shortened(name) == shown
    assert label._columns(label.shortened(name)) <= 34


def test_one_is_singular() -> None:
    assert label.counted(1, "crop") == "1 crop"
    assert label.counted(0, "crop") == "0 crops"
    assert label.counted(1234, "photo without people") == "1,234 photos without people"
