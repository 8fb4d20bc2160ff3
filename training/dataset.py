"""A training set in YOLO format: unpacked, checked, and split into photos to train on and photos held out."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class DatasetError(Exception):
    """The training set cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Split:
    """A training set, ready for ultralytics."""

    file: Path
    """The YAML file that ultralytics reads."""
    train: int
    """Images to train on."""
    held_out: int
    """Images to measure on."""
    persons: int
    """Boxes on all of them."""


def split(source: Path, folder: Path, share: float) -> Split:
    """Copies the training set at `source` into `folder`, where ultralytics may write, and holds out about `share` (0 to
    1) of its images.

    `source` is a ZIP archive or a folder, with the images anywhere below a folder `images` and a text file for each at
    the same path below `labels`: a line `0 x y width height` per person, with the centre and size of the box as parts
    of the image's size. No such file, or an empty one, means nobody. The images to hold out are chosen by their names.

    Raises DatasetError if the archive is damaged, if there are no images, or if a line is not such a line.
    """
    if source.is_dir():
        shutil.copytree(source, folder, dirs_exist_ok=True)
    elif zipfile.is_zipfile(source):
        try:
            with zipfile.ZipFile(source) as archive:
                archive.extractall(folder)
        except (zipfile.BadZipFile, zlib.error) as error:
            raise DatasetError(f"{source} is damaged ({error}); fetch it again") from None
    else:
        raise DatasetError(f"{source} is neither a folder nor a ZIP archive; name a training set in YOLO format")
    images = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and "images" in path.relative_to(folder).parent.parts
    )
    if len(images) < 2:
        raise DatasetError(f"{source} has {len(images)} images in a folder called images; at least 2 are needed")
    persons = sum(_persons(path) for path in images)
    # By the names' hashes, since neighbours may show one scene and should not be held out together.
    ranked = sorted(images, key=lambda path: hashlib.sha256(path.name.encode()).digest())
    count = min(max(1, round(share * len(images))), len(images) - 1)
    held_out, train = sorted(ranked[:count]), sorted(ranked[count:])
    lists = {"train": _write_list(folder / "train.txt", train), "val": _write_list(folder / "val.txt", held_out)}
    file = folder / "split.yaml"
    file.write_text(yaml.safe_dump({"path": str(folder.resolve()), **lists, "names": {0: "person"}}))
    return Split(file, len(train), len(held_out), persons)


def _persons(image: Path) -> int:
    """The number of persons in the labels of `image`."""
    # As in ultralytics, the last folder called images is replaced by labels.
    parts = list(image.parts)
    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    labels = Path(*parts).with_suffix(".txt")
    lines = labels.read_text(errors="replace").splitlines() if labels.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            kind, *edges = map(float, line.split())
            good = kind == 0 and len(edges) == 4 and all(0 <= edge <= 1 for edge in edges)
        except ValueError:
            good = False
        if not good:
            raise DatasetError(
                f"line {number} of {labels.name} is {line!r}; it must be `0 x y width height`, each a part of 1, and 0 "
                "is the only class: person"
            )
    return len(lines)


def _write_list(path: Path, images: Sequence[Path]) -> str:
    path.write_text("".join(f"{image.resolve()}\n" for image in images))
    return path.name
