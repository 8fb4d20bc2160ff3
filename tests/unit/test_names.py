from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipcrop.names import OutputName, archive_ids, output_names


def test_plain_names_are_kept() -> None:
    assert output_names(["a.jpg", "dir/b c.JPEG", "noext"]) == [
        OutputName("a.jpg", "a"),
        OutputName("dir/b c.JPEG", "dir/b c"),
        OutputName("noext", "noext"),
    ]


def test_crop_names_count_from_zero() -> None:
    assert OutputName("dir/a.png", "dir/a").crop(0, "jpg") == "dir/a_0.jpg"


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/a.jpg",
        "/etc/a.jpg",
        "C:\\x\\a.jpg",
        "\\\\host\\share\\a.jpg",
        "a\nb.jpg",
        "x/./../a.jpg",
        "a\x07.jpg",
    ],
)
def test_no_name_leaves_its_folder(name: str) -> None:
    (safe,) = output_names([name])
    for path in (safe.original, safe.stem):
        assert not path.startswith("/")
        assert not {"..", ".", ""} & set(path.split("/"))
        assert not any(character in path for character in "\\:\n\x07")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CON.jpg", "_CON.jpg"),
        ("a/b?.jpg", "a/b_.jpg"),
        ("dir. /a.jpg", "dir/a.jpg"),
        ("x.jpg/a.jpg", "x.jpg_/a.jpg"),
        ("evil\u202egpj.jpg", "evil_gpj.jpg"),
        ("😀 ü.jpg", "😀 ü.jpg"),
        ("..", "unnamed"),
        (".snakemake_timestamp", "_.snakemake_timestamp"),
        ("a\u2028b.jpg", "a_b.jpg"),
        (".hidden.JPG", ".hidden.JPG"),
    ],
)
def test_made_safe(name: str, expected: str) -> None:
    assert output_names([name])[0].original == expected


def test_long_names_fit_a_file_system_and_stay_apart() -> None:
    safe = output_names([f"{'ü' * 300}{i}.jpg" for i in range(2)] + ["d/" * 900 + "a.jpg"])
    assert len({name.original for name in safe}) == 3
    for name in safe:
        assert all(len(part.encode()) <= 240 for part in name.original.split("/"))
        assert len(name.original.encode()) < 1100
    assert safe[0].original.endswith(".jpg")


@pytest.mark.parametrize(
    "members",
    [
        ["a.jpg", "a.jpg", "a.jpg"],
        ["a.jpg", "A.JPG"],
        ["a.jpg", "a.png"],
        ["a.jpg", "a.jpg", "a~2.jpg"],
        ["a~2.jpg", "a.jpg", "a.jpg"],
        ["\u00e9.jpg", "e\u0301.jpg"],
        ["a", "a/b.jpg"],
        ["a/b.jpg", "a"],
        ["a_0.jpg", "a.jpg", "a_0.jpg/x.jpg"],
        ["x/../a.jpg", "a.jpg"],
        ["dir/a.jpg", "dir\\a.jpg"],
    ],
)
def test_names_that_collide_all_survive(members: list[str]) -> None:
    safe = output_names(members)
    originals = [name.original for name in safe]
    crops = [name.crop(k, "jpg") for name in safe for k in range(2)]
    for files in (originals, crops):
        keys = [file.casefold() for file in files]
        assert len(set(keys)) == len(keys)
        folders = {"/".join(key.split("/")[:depth]) for key in keys for depth in range(1, key.count("/") + 1)}
        assert not folders & set(keys)


def test_the_first_keeps_its_name() -> None:
    assert [name.original for name in output_names(["a.jpg", "b.jpg", "a.jpg", "a~2.jpg"])] == [
        "a.jpg",
        "b.jpg",
        "a~3.jpg",
        "a~2.jpg",
    ]


def test_many_equal_names_are_quick() -> None:
    assert len({name.original for name in output_names(["a.jpg"] * 20000)}) == 20000


def test_many_names_are_quick() -> None:
    names = [f"DCIM/{index // 1000}/IMG {index}.jpg" for index in range(100_000)]
    started = time.process_time()
    safe = output_names(names)
    assert time.process_time() - started < 5  # a million in under a minute, on any machine
    assert [name.original for name in safe] == names


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


def folded(path: str) -> str:
    """Equal for paths that differ in letter case and normalisation alone."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def folders_of(paths: list[str]) -> set[str]:
    return {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 1)}


# Few different parts, so that they meet.
PARTS = st.sampled_from(["a", "A", "a~2", "A~3", "\u00e9", "e\u0301", "É", "ß", "SS", "\u0345", "K", "b"])
PATHS = st.lists(st.lists(PARTS | st.text("aA\u0301", min_size=1), min_size=1, max_size=3), max_size=9)


@given(PATHS)
def test_ids_of_archives_are_unique_and_no_folders(parts: list[list[str]]) -> None:
    paths = ["/".join(each) for each in parts]
    ids = archive_ids(paths)
    keys = [folded(each) for each in ids]
    assert len(set(keys)) == len(keys) == len(paths)
    assert not set(keys) & folders_of([folded(path) for path in ids])
    wished = [folded(path) for path in paths]
    folders = folders_of(wished)
    for place, (path, found) in enumerate(zip(paths, ids, strict=True)):
        has_twin = wished[place] in wished[:place] or wished[place] in folders
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
