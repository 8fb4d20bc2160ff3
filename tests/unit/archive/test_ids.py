from __future__ import annotations

import pytest
from hypothesis import given

from helpers.paths import PATHS, folded, folders_of
from zipcrop.archive.ids import archive_ids


@pytest.mark.parametrize(
    ("paths", "ids"),
    [
        ([], []),
        (["b", "A", "2024/images(1)", "x:?\x7f "], ["b", "A", "2024/images(1)", "x:?\x7f "]),
        (["a", "A", "b", "a"], ["a", "A~2", "b", "a~3"]),
        (["\u00e9", "e\u0301", "E\u0301"], ["\u00e9", "e\u0301~2", "E\u0301~3"]),
        (["Straße", "STRASSE"], ["Straße", "STRASSE~2"]),
        (["A/x", "a/x", "a/y"], ["A/x", "a/x~2", "a/y"]),
        (["a", "A/x"], ["a~2", "A/x"]),
        (["A/x", "a"], ["A/x", "a~2"]),
        (["A/B/x", "a/b"], ["A/B/x", "a/b~2"]),
        (["a", "A", "A~2"], ["a", "A~3", "A~2"]),
        (["a", "A", "a~2/x"], ["a", "A~3", "a~2/x"]),
    ],
)
def test_archives_that_a_file_system_takes_for_one_are_numbered(paths: list[str], ids: list[str]) -> None:
    assert archive_ids(paths) == ids


@given(PATHS)
def test_ids_of_archives_are_unique_and_no_folders(parts: list[list[str]]) -> None:
    paths = ["/".join(each) for each in parts]
    ids = archive_ids(paths)
    keys = [folded(each) for each in ids]
    assert len(set(keys)) == len(keys) == len(paths)
    assert not set(keys) & folders_of([folded(path) for path in ids])
    wished = [folded(path) for path in paths]
    folders = folders_of(wished)
    for position, (path, found) in enumerate(zip(paths, ids, strict=True)):
        has_twin = wished[position] in wished[:position] or wished[position] in folders
        assert (found != path) == has_twin
        stem, _, number = found.rpartition("~")
        assert found == path or (stem == path and number.isdecimal() and int(number) >= 2)
    for key in wished:
        numbered = [
            int(found.rpartition("~")[2])
            for path, found in zip(paths, ids, strict=True)
            if folded(path) == key != folded(found)
        ]
        assert numbered == sorted(numbered)
