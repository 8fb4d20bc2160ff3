from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from zipcrop.errors import MachineError
from zipcrop.results import layout


@pytest.mark.parametrize("part", ["..", "../x", "a/../../x", "/etc/passwd", "a/..", ".", "", "a/../b"])
def test_no_name_leads_out(part: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(MachineError, match="leads out of"):
        layout.inside(tmp_path, part)


@pytest.mark.parametrize("path_of", [layout.manifest, layout.record, layout.digests, layout.staging, layout.uploaded])
def test_no_archive_leads_out(path_of: Callable[[Path, str], Path], tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="leads out of"):
        path_of(tmp_path, "../../x")


@pytest.mark.parametrize("archive", ["..", "../No_Person", "x/../..", "/tmp"])
def test_no_results_lie_beside_their_folder(archive: str, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="leads out of"):
        layout.results(tmp_path, "Person", archive)


@pytest.mark.parametrize("link", ["Person", "Person/a"])
def test_no_link_is_followed(link: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    (output / link).parent.mkdir(parents=True, exist_ok=True)
    (output / link).symlink_to(tmp_path)
    with pytest.raises(MachineError, match="by its name or by a link"):
        layout.results(output, "Person", "a")


def test_the_output_folder_itself_may_be_a_link_or_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "output").symlink_to("disk")
    assert layout.results(tmp_path / "output", "Person", "a(1)/b [2]") == tmp_path / "output/Person/a(1)/b [2]"
    monkeypatch.chdir(tmp_path)
    assert layout.manifest(Path("output"), "x") == Path("output/manifests/x.csv")


def test_names_that_only_look_like_it_are_inside(tmp_path: Path) -> None:
    for name in ("...", "a..b", "..a", " ", "-rf", "~root"):
        assert layout.inside(tmp_path, name) == tmp_path / name


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A folder with results of `a` and `b`, and things that are none; beside it there is a file of somebody else's."""
    output = tmp_path / "output"
    for file in ("Person/a/x.jpg", "Person/a/deep/y.jpg", "No_Person/a/z.jpg", "Person/b/x.jpg", "manifests/a.csv"):
        (output / file).parent.mkdir(parents=True, exist_ok=True)
        (output / file).touch()
    (tmp_path / "victim").touch()
    (output / "Person/a/out").symlink_to(tmp_path)
    (output / "Person/a/other").symlink_to("../b")
    (output / "Person/a/round").symlink_to("round")
    (output / "Person/a/link.jpg").symlink_to("x.jpg")
    (output / "Person/linked").symlink_to("b")
    os.mkfifo(output / "Person/a/pipe")
    return output


@pytest.mark.parametrize("file", ["Person/a/x.jpg", "new/file"])
def test_inside(file: str, output: Path) -> None:
    assert layout.inside(output, file) == output / file
    assert layout.inside(output, *file.split("/")) == output / file


@pytest.mark.parametrize(
    "file",
    [
        "",
        ".",
        "..",
        "../victim",
        "a/../../victim",
        "a/..",
        "/etc/passwd",
        "Person/a/out/victim",
        "a\0b",
        "a/../b",
        "Person/a/link.jpg",
        "Person/a/other/x.jpg",
    ],
)
def test_outside(file: str, output: Path) -> None:
    with pytest.raises(
        MachineError,
        match=r"leads out of .*, by its name or by a link; see what has put it there, remove it, and run again",
    ):
        layout.inside(output, file)


def test_a_folder_that_is_a_link_itself_is_as_good_as_any(output: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(output)
    assert layout.regular(tmp_path / "link", "Person/a/x.jpg") == tmp_path / "link/Person/a/x.jpg"
    assert layout.is_own(tmp_path / "link", "a", "Person/a/x.jpg")


def test_regular_files(output: Path) -> None:
    assert layout.regular(output, "Person", "a", "x.jpg") == output / "Person/a/x.jpg"
    for file in ("Person/a/pipe", "Person/a"):
        with pytest.raises(MachineError, match="is no regular file"):
            layout.regular(output, file)
    with pytest.raises(FileNotFoundError):
        layout.regular(output, "Person/a/gone.jpg")


OWN = ["Person/a/x.jpg", "Person/a/deep/y.jpg", "No_Person/a/z.jpg", "Person/a/gone.jpg"]
OTHERS = [
    "",
    "Person",
    "Person/a",
    "Person/a/",
    "Person/a/deep",
    "Person/b/x.jpg",
    "Person/a/../b/x.jpg",
    "Person/ab/x.jpg",
    "manifests/a.csv",
    "../victim",
    "/etc/passwd",
    "Person/a//etc/passwd",
    "Person/a/../../../victim",
    "Person/a/out/victim",
    "Person/a/out/gone",
    "Person/a/other/x.jpg",
    "Person/a/round/x.jpg",
    "Person/a/link.jpg",
    "Person/a/pipe",
    "Person/a/x.jpg/gone.jpg",
    f"Person/a/{'x' * 300}",
    "Person/a/\0",
]


def test_own_files_and_others(output: Path) -> None:
    assert layout.own_and_others(output, "a", OWN + OTHERS) == (OWN, OTHERS)
    assert layout.own_and_others(output, "linked", ["Person/linked/x.jpg"]) == ([], ["Person/linked/x.jpg"])


def test_no_link_is_followed_to_the_folder_of_an_archive(output: Path) -> None:
    assert layout.has_own_folder(output, "Person", "a")
    assert layout.has_own_folder(output, "Person", "gone")
    assert not layout.has_own_folder(output, "Person", "linked")
    assert not layout.has_own_folder(output, "Person", "a/other")


def test_others_are_named(output: Path) -> None:
    assert layout.left_alone("a", ["../victim", "b\n"]) == (
        "the manifest of a names what is no file of its results; it is left alone: '../victim', 'b\\n'"
    )
    assert layout.left_alone("a", ["1", "2", "3", "4"]).endswith(": '1', '2', '3', …")


def test_files_below_a_folder(output: Path) -> None:
    assert layout.files_below(output / "Person") == {
        "a/x.jpg": True,
        "a/deep/y.jpg": True,
        "b/x.jpg": True,
        **dict.fromkeys(["a/out", "a/other", "a/round", "a/link.jpg", "linked", "a/pipe"], False),
    }
    assert layout.files_below(output / "gone") == {}
    assert layout.files_below(output / "manifests/a.csv") == {}


def test_results_below_are_regular_files_that_systems_do_not_leave(output: Path) -> None:
    for name in (".DS_Store", "deep/Thumbs.db", "._x.jpg", layout.TIMESTAMP):
        (output / "Person/a" / name).touch()
    assert sorted(layout.results_below(output / "Person")) == ["a/deep/y.jpg", "a/x.jpg", "b/x.jpg"]


@pytest.mark.parametrize("file", OWN)
def test_a_name_below_the_folder_of_an_archive(file: str) -> None:
    folder, _, name = file.partition("/a/")
    assert layout.name_in(folder, "a", file) == name


@pytest.mark.parametrize(
    "file", ["", "Person/a", "Person/a/", "Person/b/x.jpg", "/x", "Person/a/../x", "Person/a//x", "x"]
)
def test_no_name_below_the_folder_of_an_archive(file: str) -> None:
    with pytest.raises(ValueError, match="is no file of Person/a"):
        layout.name_in("Person", "a", file)


def test_paths_are_named_relative_to_the_output_folder() -> None:
    output = Path("some/output")
    paths = [layout.manifest(output, "a/b"), layout.summary(output), layout.coco(output), layout.yolo(output)]
    assert [layout.relative(output, path) for path in paths] == [
        "manifests/a/b.csv",
        "summary.csv",
        "summary/annotations.coco.json",
        "summary/yolo",
    ]
