"""The export for tools that read YOLO's label files: one text file per photo, `labels/<archive>/<stem>.txt`.

A photo's stem is the beginning of its crops' names. The labels are of no use without the photos, which are still in
their archives: for each photo, `photos.csv` gives the path `images/<archive>/<stem>` and its suffix, where tools look
for the labels that go with it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zipcrop import files
from zipcrop.archive.reader import SYMBOLIC_LINK
from zipcrop.errors import ResultsError
from zipcrop.image import selection
from zipcrop.results import layout, manifest, names
from zipcrop.results.exports import Counts

if TYPE_CHECKING:
    from zipcrop.results.manifest import Outcome

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
# folder x.txt could meet the labels of x.jpg. One more underscore keeps different names different.
_MISLEADING = re.compile(r"(^images|\.txt)_*$", re.IGNORECASE)


def write(output: Path, archives: Mapping[str, str]) -> Counts:
    """Writes the labels of all photos of `archives` (name to path) that have crops, one line for each, or no persons.

    A photo whose persons were all rejected is left out, since it would pass for one without persons. Raises OSError
    where the machine is at fault; then nothing is written.
    """
    photos = people = 0
    with files.whole(layout.yolo(output)) as part:
        (part / "labels").mkdir(parents=True)
        (part / "data.yaml").write_text(_DATA_YAML, encoding="utf-8")
        with (part / "photos.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(_COLUMNS)
            for archive, zip_path in archives.items():
                for member, photo, stem in _labelled(output, archive):
                    safe = _safe_folders(f"{archive}/{stem}")
                    _write_file(part / f"labels/{safe}.txt", _lines(photo))
                    image = f"images/{safe}{names.safe_suffix(member)}"
                    rows.writerow([image, zip_path, photo.index, archive, member])
                    photos += 1
                    people += len(photo.cropped())
    return Counts(photos, people)


def _labelled(output: Path, archive: str) -> Iterator[tuple[str, Outcome, str]]:
    """The photos to label: the member's name, the outcome, and the stem. Raises ResultsError, OSError."""
    # A photo without persons has no crop that tells its stem, which depends on the names of all that was read. They are
    # known before any label is written; of everything else, one member is held at a time.
    read = (member for member, outcome in manifest.members(output, archive) if _was_read(member, outcome))
    stems = iter([name.stem for name in names.output_names(list(read))])
    for member, outcome in manifest.members(output, archive):
        stem = next(stems) if _was_read(member, outcome) else ""
        if outcome.status == "person":
            yield member, outcome, _stem_of_crops(output, archive, outcome)
        elif outcome.status == "no_person":
            yield member, outcome, stem


def _was_read(member: str, outcome: Outcome) -> bool:
    """Whether the crop job read the member and so planned a name for it, as it does also for those that then failed or
    were skipped."""
    if outcome.status != "skipped":
        return True
    return not (member.endswith("/") or outcome.reason == SYMBOLIC_LINK or selection.reason_to_skip(member))


def _stem_of_crops(output: Path, archive: str, photo: Outcome) -> str:
    try:
        return names.stem_of_crop(layout.name_in(layout.PERSON, archive, photo.persons[0].file))
    except ValueError:
        raise ResultsError(
            archive, f"{layout.manifest(output, archive)} names a crop that is no file of its results"
        ) from None


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
    assert photo.width is not None
    assert photo.height is not None
    width, height = photo.width, photo.height
    return "".join(
        f"0 {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} {(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}\n"
        for x1, y1, x2, y2 in (person.box for person in photo.cropped())
    )
