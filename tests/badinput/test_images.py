"""The corpus of images through the real crop job, all in one archive."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from images import CASES, MEMBER_MB, SIZE, bombs, bus_file

import process_tree
from helpers.files import make_zip, read_csv
from helpers.job import Crop, Rows
from helpers.once import once_per_run
from helpers.output import files_below
from helpers.photos import photo


def make_corpus(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("good.jpg", bus_file("jpeg"))
        for index, case in enumerate(CASES.values()):
            # Apart, but for those whose folder matters, so that no name depends on another's.
            folder = "" if case.member.startswith("__MACOSX/") else f"{index:03}/"
            archive.writestr(folder + case.member, case.data())
        archive.writestr("good again.jpg", bus_file("jpeg"))
        for info in archive.infolist():
            if info.filename.endswith("huge.jpg"):
                info.file_size = 3_000_000_000


class Run:
    """The job of the corpus in `folder`, and its manifest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.rows: dict[int, Rows] = {}
        """The manifest, by member."""
        for row in read_csv(self.output / "manifests" / "corpus.csv"):
            self.rows.setdefault(int(row["member_index"]), []).append(row)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, model_json: Path) -> Run:
    def make(folder: Path) -> None:
        make_corpus(folder / "corpus.zip")
        Crop(folder, model_json)(folder / "corpus.zip", workers=2, limits__member_mb=MEMBER_MB)

    return Run(once_per_run(tmp_path_factory, "corpus", make))


def box(row: dict[str, str]) -> np.ndarray:
    return np.array([float(row[edge]) for edge in ("x1", "y1", "x2", "y2")])


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union."""
    width, height = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    areas = [(corners[2] - corners[0]) * (corners[3] - corners[1]) for corners in (a, b)]
    return float(width * height / (sum(areas) - width * height))


@pytest.mark.parametrize("name", CASES)
def test_every_image_ends_as_its_name_says(name: str, run: Run) -> None:
    index = list(CASES).index(name) + 1
    rows = run.rows[index]
    expected = name.rpartition(" [")[0]
    found = f"{rows[0]['status']}: {rows[0]['reason']}"
    if expected == "decoded: ":
        assert found in ("person: ", "no_person: ") or found.startswith("failed: cannot be decoded: ")
    else:
        assert found == expected
    assert not any(word in found for word in ("OpenCV", "cv2", "Assertion", "Traceback"))
    if CASES[name].upright:
        assert (int(rows[0]["width"]), int(rows[0]["height"])) == SIZE
        reference = run.rows[0][0]
        assert max(overlap(box(row), box(reference)) for row in rows) > 0.8
    if rows[0]["status"] in ("failed", "skipped"):
        assert [row["file"] for row in rows] == [""]
    else:
        assert all((run.output / row["file"]).stat().st_size for row in rows)


def test_good_photos_before_and_after_bad_ones_are_not_affected(run: Run) -> None:
    columns = ("status", "reason", "width", "height", "person", "confidence", "x1", "y1", "x2", "y2")
    first, last = (
        [{column: row[column] for column in columns} for row in run.rows[index]] for index in (0, len(CASES) + 1)
    )
    assert first == last
    assert {row["status"] for row in first} == {"person"}
    assert len(first) >= 2


def test_no_file_is_outside_the_archives_folders(run: Run) -> None:
    written = files_below(run.output).keys()
    named = {row["file"] for rows in run.rows.values() for row in rows} - {""}
    assert named == {name for name in written if name.startswith(("Person/corpus/", "No_Person/corpus/"))}
    others = {name for name in written - named if not name.startswith(("manifests/corpus.", "."))}
    assert not others
    assert {file.name for file in run.folder.iterdir()} == {"corpus.zip", "output", "logs"}


def test_a_picture_of_hundreds_of_people_has_at_most_max_detections_crops(tmp_path: Path, crop: Crop) -> None:
    person = cv2.resize(photo("bus")[380:920, :320], (37, 64), interpolation=cv2.INTER_AREA)
    person = cv2.copyMakeBorder(person, 8, 8, 16, 16, cv2.BORDER_CONSTANT, value=(120, 120, 120))
    crowd = cv2.imencode(".jpg", np.tile(person, (20, 20, 1)))[1].tobytes()
    archive = make_zip(tmp_path / "crowd.zip", [("crowd.jpg", crowd)])
    rows = crop(archive, image_size=1280, max_detections=300)
    assert [row["status"] for row in rows] == ["person"] * 300
    assert len({row["file"] for row in rows}) == 300
    assert len(crop(archive, image_size=1280, max_detections=20, output="fewer")) == 20


@pytest.mark.slow
def test_an_archive_of_bombs_needs_little_memory(tmp_path: Path, crop: Crop) -> None:
    count, kinds = 200, bombs()
    path = tmp_path / "bombs.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for index in range(count):
            suffix, data = kinds[index % len(kinds)]
            archive.writestr(f"{index}{suffix}", data)
    usage = process_tree.run(crop.job(path, workers="auto").command())
    rows = read_csv(tmp_path / "output/manifests/bombs.csv")
    assert len({row["member_index"] for row in rows}) == count
    assert usage.peak_bytes < 1.5e9
