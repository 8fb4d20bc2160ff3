"""The export for tools that read YOLO's label files: one text file per photo, `labels/<archive>/<stem>.txt`.

A photo's stem is what its crops' names begin with. The labels are of no use without the photos, which are still in
their archives: `photos.csv` says where each belongs, `images/<archive>/<stem>` and its suffix, so that tools find its
labels.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from zipcrop import files
from zipcrop.image import codec
from zipcrop.results import layout, manifest
from zipcrop.results.exports import Counts
from zipcrop.results.manifest import Outcome
from zipcrop.results.names import OutputName, output_names

_DATA_YAML = """\
# People in photos, found by zipcrop, for ultralytics and others that read its format. The photos are still in their
# archives: photos.csv says which member of which archive belongs where below images/, and zipcrop's README.md, section
# Exports, has the lines that put them there. All of them are listed for training and for validation: split them.
train: images
val: images
names:
  0: person
"""
_COLUMNS = ["image", "zip", "member_index", "archive", "member"]
# Ultralytics takes the last folder called `images` for the one that `labels` stands beside (img2label_paths), and a
# folder x.txt could meet the labels of x.jpg. One more underscore keeps names apart that were.
_MISLEADING = re.compile(r"(^images|\.txt)_*$", re.IGNORECASE)


def write(output: Path, archives: Mapping[str, str]) -> Counts:
    """Writes the labels of all photos of `archives` (id to path) that have people or none, one line for each crop.

    A photo whose people were all rejected is left out, since it would pass for one without people. Raises OSError where
    the machine is at fault; then nothing is written.
    """
    photos = people = 0
    with files.whole(layout.yolo(output)) as part:
        (part / "labels").mkdir(parents=True)
        (part / "data.yaml").write_text(_DATA_YAML, encoding="utf-8")
        with (part / "photos.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(_COLUMNS)
            for archive, zip_path in archives.items():
                for member, photo, name in _named(output, archive):
                    stem = _safe_folders(f"{archive}/{name.stem}")
                    _write_file(part / f"labels/{stem}.txt", _lines(photo))
                    suffix = PurePosixPath(name.original).suffix
                    rows.writerow([f"images/{stem}{suffix}", zip_path, photo.index, archive, member])
                    photos += 1
                    people += len(photo.cropped())
    return Counts(photos, people)


def _named(output: Path, archive: str) -> Iterator[tuple[str, Outcome, OutputName]]:
    """The photos to label, each with the name that the crop job gave it."""
    # The names of all must be known before any is written; of the rest of them only one is held at a time.
    named = [member for member, outcome in manifest.members(output, archive) if _has_name(member, outcome)]
    names = iter(output_names(named))
    for member, outcome in manifest.members(output, archive):
        if _has_name(member, outcome):
            name = next(names)
            if outcome.status in ("person", "no_person"):
                yield member, outcome, name


def _has_name(member: str, outcome: Outcome) -> bool:
    """Whether the crop job planned a name for the member. It does for all but those that it skips without reading them
    (`archive.Member.skip`); one that it has read and then skipped may have made another's name `~2`."""
    if outcome.status != "skipped":
        return True
    if outcome.reason == "not an image":
        return not codec.has_suffix(member)
    if outcome.reason == "macOS metadata":
        return "/__MACOSX/" not in f"/{member}"
    return False  # a folder or a symbolic link


def _safe_folders(name: str) -> str:
    *folders, base = name.split("/")
    return "/".join([*(f"{folder}_" if _MISLEADING.search(folder) else folder for folder in folders), base])


def _write_file(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="ascii")
    except FileNotFoundError:
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="ascii")


def _lines(photo: Outcome) -> str:
    """Class, centre, width and height of each person with a crop, as fractions of the upright photo's sides."""
    assert photo.width and photo.height
    width, height = photo.width, photo.height
    return "".join(
        f"0 {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} {(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}\n"
        for x1, y1, x2, y2 in (person.box for person in photo.cropped())
    )
