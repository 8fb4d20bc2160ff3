"""Training sets in YOLO format, good and bad."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from dataset import DatasetError, split


def make(folder: Path, labels: dict[str, str | None]) -> Path:
    """A training set with an image per name of `labels`, and a text file unless that is None."""
    for name, text in labels.items():
        image = folder / "images" / f"{name}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(image), np.full((8, 8, 3), 90, np.uint8))
        if text is not None:
            label = folder / "labels" / f"{name}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(text)
    return folder


def listed(file: Path, part: str) -> set[str]:
    content = yaml.safe_load(file.read_text())
    assert content["names"] == {0: "person"}
    paths = [Path(line) for line in (Path(content["path"]) / content[part]).read_text().splitlines()]
    assert all(path.exists() for path in paths)
    return {path.stem for path in paths}


def test_images_are_held_out_by_their_names_alone(tmp_path: Path) -> None:
    names = [f"street/{number}" for number in range(40)]
    first = split(make(tmp_path / "a", dict.fromkeys(names, "0 .5 .5 .2 .9\n")), tmp_path / "b", 0.25)
    assert (first.train, first.held_out, first.persons) == (30, 10, 40)
    assert listed(first.file, "train").isdisjoint(listed(first.file, "val"))
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((tmp_path / "a").rglob("*.*"), reverse=True):
            file.write(path, path.relative_to(tmp_path / "a"))
    assert listed(split(archive, tmp_path / "c", 0.25).file, "val") == listed(first.file, "val")


def test_images_with_no_labels_or_an_empty_file_have_nobody(tmp_path: Path) -> None:
    labels = {"crowd": "0 .2 .5 .1 1\n0 .7 .5 .1 1\n", "sky": "", "sea": None}
    assert split(make(tmp_path / "a", labels), tmp_path / "b", 0.1).persons == 2


@pytest.mark.parametrize("line", ["1 .5 .5 .2 .9", "0 .5 .5 .2", "0 .5 .5 .2 640", "0 a b c d", "0 .5 nan .2 .2"])
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    source = make(tmp_path / "a", {"good": "", "bad": f"0 .5 .5 .2 .9\n{line}\n"})
    with pytest.raises(DatasetError, match=r"line 2 of bad\.txt is .* 0 is the only class: person"):
        split(source, tmp_path / "b", 0.1)


def test_what_is_no_training_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"has 1 images in a folder called images; at least 2"):
        split(make(tmp_path / "a", {"only": ""}), tmp_path / "b", 0.1)
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(damaged, "w") as archive:
        archive.writestr("images/a.jpg", b"pixels")
    damaged.write_bytes(damaged.read_bytes().replace(b"pixels", b"pixelz"))
    with pytest.raises(DatasetError, match=r"damaged.zip is damaged \(Bad CRC"):
        split(damaged, tmp_path / "d", 0.1)
    note = tmp_path / "note.txt"
    note.write_text("no archive")
    with pytest.raises(DatasetError, match=r"note.txt is neither a folder nor a ZIP archive"):
        split(note, tmp_path / "c", 0.1)
