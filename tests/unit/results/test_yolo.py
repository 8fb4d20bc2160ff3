from __future__ import annotations

import csv
import random
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pytest
import yaml

from helpers.files import make_zip, read_csv
from helpers.photos import encoded
from helpers.results import FAILED, SKIPPED, UGLY_NAMES, no_person, person, publish, rejected
from zipcrop.archive.reader import SYMBOLIC_LINK, Member
from zipcrop.errors import ResultsError
from zipcrop.results import exports, layout, manifest, yolo
from zipcrop.results.manifest import Outcome, Person, Status
from zipcrop.results.names import OutputName, output_names

Crop = Callable[..., list[dict[str, str]]]


def export(output: Path) -> Path:
    yolo.write(output, exports.archives(output))
    return layout.yolo(output)


def labels(output: Path) -> list[str]:
    folder = export(output) / "labels"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_line_per_person(tmp_path: Path) -> None:
    found = person((64.0, 120.0, 192.0, 360.0), (0.0, 0.0, 640.0, 480.0), (1.0, 2.0, 2.0, 4.0))
    publish(tmp_path, {"images(1)": [("sub/x.jpg", found), ("y.jpg", no_person())]})
    folder = export(tmp_path)
    assert (folder / "labels/images(1)/sub/x.txt").read_text().splitlines() == [
        "0 0.200000 0.500000 0.200000 0.500000",
        "0 0.500000 0.500000 1.000000 1.000000",
        "0 0.002344 0.006250 0.001563 0.004167",
    ]
    assert (folder / "labels/images(1)/y.txt").read_text() == ""
    assert yaml.safe_load((folder / "data.yaml").read_text()) == {
        "train": "images",
        "val": "images",
        "names": {0: "person"},
    }
    assert read_csv(folder / "photos.csv") == [
        {
            "image": f"images/images(1)/{place}",
            "zip": "raw_zips/images(1).zip",
            "member_index": str(index),
            "archive": "images(1)",
            "member": place,
        }
        for index, place in enumerate(["sub/x.jpg", "y.jpg"])
    ]


def test_only_photos_of_which_it_is_known_who_is_in_them(tmp_path: Path) -> None:
    publish(
        tmp_path,
        {"a": [("x.jpg", rejected()), ("y.jpg", FAILED), ("z.txt", SKIPPED), ("w.jpg", no_person())], "broken": None},
    )
    assert labels(tmp_path) == ["a/w.txt"]
    assert [row["member"] for row in read_csv(layout.yolo(tmp_path) / "photos.csv")] == ["w.jpg"]


def test_without_photos(tmp_path: Path) -> None:
    publish(tmp_path, {"a": None, "b": []})
    assert labels(tmp_path) == []


def test_names_that_collide_or_mislead(tmp_path: Path) -> None:
    names = ["x.jpg", "x.jpg", "x.png", "X.jpg", "images/x.jpg", "images_/x.jpg", "IMAGES/y.jpg"]
    names += ["x.txt/y.jpg", "x.txt_/y.jpg", "images", *UGLY_NAMES]
    publish(tmp_path, {"images": [(name, no_person()) for name in names], "b/images/c": [("x.jpg", no_person())]})
    found = labels(tmp_path)
    assert len(found) == len({name.casefold() for name in found}) == len(names) + 1
    assert {"x.txt", "x~2.txt", "x~3.txt", "X~4.txt"} <= {name.removeprefix("images_/") for name in found}
    assert {"images_/images_/x.txt", "images_/images__/x.txt", "images_/IMAGES_/y.txt"} <= set(found)
    assert {"images_/x.txt_/y.txt", "images_/x.txt__/y.txt", "b/images_/c/x.txt", "images_/images.txt"} <= set(found)


def test_ultralytics_finds_the_labels_of_every_photo(tmp_path: Path) -> None:
    from ultralytics.data.utils import img2label_paths

    names = [
        "x.jpg",
        "x.jpg",
        "x.png",
        "images/x.jpg",
        "images/images/x.JPG",
        "a.b/c.d.jpg",
        "x.txt/y.jpg",
        *UGLY_NAMES,
    ]
    publish(tmp_path, {"images": [(name, no_person()) for name in names]})
    folder = export(tmp_path)
    places = [folder / row["image"] for row in read_csv(folder / "photos.csv")]
    assert len(set(places)) == len(names)
    assert all(Path(path).is_file() for path in img2label_paths(places))


def test_stems_are_those_of_the_crops(tmp_path: Path, crop: Crop) -> None:
    """Members that are skipped unread take part in no names, those that are read and then skipped do."""
    photo = encoded("zidane", scale=0.3)
    double = b"\0\5\x16\7" + bytes(100)
    names = [
        "a.jpg",
        "a.png",
        "folder/",
        "b.txt",
        "b.jpg",
        "__MACOSX/c.jpg",
        "sub/__MACOSX/d.jpg",
        "c.jpg",
        "e",
        "e.jpg",
    ]
    names += ["f.jpg", "f.jpeg", "A.jpg", "g/images/x.jpg", "x__MACOSX/h.jpg", "i.jpg", "i.png", "i.bmp"]
    contents = {
        "e": b"no photo",
        "f.jpg": double,
        "i.jpg": photo[:500],
        "folder/": b"",
        "i.png": encoded("empty", ".png"),
    }
    zip_path = make_zip(tmp_path / "z.zip", [(name, contents.get(name, photo)) for name in names])
    with zipfile.ZipFile(zip_path, "a") as archive:
        link = zipfile.ZipInfo("k.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "a.jpg")
        archive.writestr("k.png", photo)
    rows = crop(zip_path)
    assert {row["status"] for row in rows} == {"person", "no_person", "failed", "skipped"}
    with (tmp_path / "output" / "summary.csv").open("w") as file:
        csv.writer(file).writerows([["archive", "zip"], ["z", str(zip_path)]])
    found = labels(tmp_path / "output")
    assert [row["reason"] for row in rows if row["member"] == "k.jpg"] == [SYMBOLIC_LINK]
    crops = {row["file"].removeprefix("Person/").rpartition("_")[0] for row in rows if row["status"] == "person"}
    empty = [row["member"] for row in rows if row["status"] == "no_person"]
    assert empty == ["i.png"]
    assert {"z/a~2", "z/e~2", "z/f~2", "z/A~3", "z/k"} <= crops
    expected = {f"{stem}.txt" for stem in crops | {"z/i~2"}}
    assert set(found) == {name.replace("/images/", "/images_/") for name in expected}


def test_whole_or_not_at_all_and_always_the_same(tmp_path: Path) -> None:
    publish(tmp_path, {"a": [(name, person((1.0, 2.0, 30.0, 40.0))) for name in UGLY_NAMES]})
    before = {path: path.read_bytes() for path in export(tmp_path).rglob("*") if path.is_file()}
    assert {path: path.read_bytes() for path in export(tmp_path).rglob("*") if path.is_file()} == before
    shutil.copytree(layout.yolo(tmp_path), tmp_path / "summary" / ".yolo.part")  # as a kill leaves it
    publish(tmp_path, {"b": [("new.jpg", no_person())]})
    assert labels(tmp_path) == ["b/new.txt"]
    with pytest.raises(FileNotFoundError):
        yolo.write(tmp_path, {"b": "raw/b.zip", "gone": "raw/gone.zip"})
    assert [path.name for path in (tmp_path / "summary").iterdir()] == ["yolo"]


class Made(NamedTuple):
    """A member, and what the crop job makes of it."""

    name: str
    status: Status
    reason: str = ""
    was_read: bool = True


def draw_member(draw: random.Random) -> Made:
    name = draw.choice(["", "", "sub/", "x.jpg/"]) + draw.choice("aAb") + draw.choice(["", ".jpg", ".png", "~2.jpg"])
    return draw.choice(
        [
            Made(name, "person"),
            Made(name, "no_person"),
            Made(name, "rejected", "no crop has 2 pixels on each side (crop.min_size)"),
            Made(name, "failed", "is damaged: Bad CRC-32"),
            Made(name, "skipped", "macOS metadata"),  # by its content, as the next one
            Made(draw.choice("ab"), "skipped", "not an image"),
            Made(f"__MACOSX/{name}", "skipped", "macOS metadata", False),
            Made(name, "skipped", "symbolic link", False),
            Made(f"{name}/", "skipped", "folder", False),
            Made(f"{name}.txt", "skipped", "not an image", False),
        ]
    )


def outcome_of(index: int, made: Made, name: OutputName) -> Outcome:
    if made.status == "person":
        crop = Person((1.0, 2.0, 30.0, 40.0), 0.9, f"Person/z/{name.crop(0, 'webp')}")
        return Outcome(index, "person", "", 640, 480, (crop,))
    if made.status == "no_person":
        return Outcome(index, "no_person", "", 640, 480, (), f"No_Person/z/{name.original}")
    size = (640, 480) if made.status == "rejected" else (None, None)
    return Outcome(index, made.status, made.reason, *size)


@pytest.mark.parametrize("seed", range(20))
def test_labels_are_called_as_the_crop_job_planned(seed: int, tmp_path: Path) -> None:
    """Only members that the job has read take part in the names of others."""
    draw = random.Random(seed)
    members = [draw_member(draw) for _ in range(40)]
    planned = iter(output_names([made.name for made in members if made.was_read]))
    rows: list[manifest.Row] = []
    wanted: list[tuple[str, str]] = []
    for index, made in enumerate(members):
        name = next(planned) if made.was_read else OutputName("", "")
        if made.status in ("person", "no_person"):
            wanted.append((f"z/{name.stem}", PurePosixPath(name.original).suffix))
        rows += manifest.rows("z", Member(index, made.name, 1, 10, ""), outcome_of(index, made, name))
    publish(tmp_path, {"z": []})
    manifest.write(layout.manifest(tmp_path, "z"), rows)
    assert set(labels(tmp_path)) == {f"{stem}.txt" for stem, _ in wanted}
    images = [row["image"] for row in read_csv(layout.yolo(tmp_path) / "photos.csv")]
    assert images == [f"images/{stem}{suffix}" for stem, suffix in wanted]


@pytest.mark.parametrize("file", ["", "x_0.jpg", "Person/a/../../x_0.jpg", "Person/b/x_0.jpg", "/etc/x_0.jpg"])
def test_a_crop_that_lies_elsewhere_names_no_labels(file: str, tmp_path: Path) -> None:
    publish(tmp_path, {"a": []})
    outcome = Outcome(0, "person", "", 640, 480, (Person((1.0, 2.0, 30.0, 40.0), 0.9, file),))
    manifest.write(layout.manifest(tmp_path, "a"), manifest.rows("a", Member(0, "x.jpg", 1, 10, ""), outcome))
    with pytest.raises(ResultsError, match=r"a\.csv names a crop that is no file of its results; delete it"):
        export(tmp_path)
