from __future__ import annotations

import pytest

from helpers.effort import count_calls, time_limit
from zipcrop.results.names import OutputName, output_names, safe_suffix, stem_of_crop


def test_plain_names_are_kept() -> None:
    assert output_names(["a.jpg", "dir/b c.JPEG", "noext"]) == [
        OutputName("a.jpg", "a"),
        OutputName("dir/b c.JPEG", "dir/b c"),
        OutputName("noext", "noext"),
    ]


def test_crop_names_count_from_zero() -> None:
    assert OutputName("dir/a.png", "dir/a").crop(0, "jpg") == "dir/a_0.jpg"


@pytest.mark.parametrize("name", ["a.jpg", "dir/a_1.b.png", "_", "x"])
def test_a_crop_tells_its_stem(name: str) -> None:
    (safe,) = output_names([name])
    assert [stem_of_crop(safe.crop(k, "webp")) for k in (0, 12)] == [safe.stem] * 2


@pytest.mark.parametrize("name", ["a.jpg", "a", ".jpg", "a. ", "x/..a.PNG", "a.b/c", f"{'ü' * 300}.jpg", "a.b c"])
def test_the_suffix_is_that_of_the_original(name: str) -> None:
    safe = output_names([name, name])
    assert [each.original for each in safe] == [
        f"{safe[0].stem}{safe_suffix(name)}",
        f"{safe[0].stem}~2{safe_suffix(name)}",
    ]


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


@pytest.mark.parametrize(
    "names",
    [["a.jpg"] * 100_000, [f"DCIM/{index // 1000}/IMG {index}.jpg" for index in range(100_000)]],
    ids=["equal", "different"],
)
def test_each_of_many_names_costs_no_more_than_of_few(names: list[str]) -> None:
    few = count_calls(lambda: output_names(names[:1000]))
    with time_limit():  # a search in a list is one call, however long the list is
        assert count_calls(lambda: output_names(names)) < 101 * few
        safe = output_names(names)
    assert len({name.original for name in safe}) == len(names)
    assert [name.original for name in safe if "~" not in name.original] == list(dict.fromkeys(names))
