"""The export for tools that read COCO's detection format (https://cocodataset.org/#format-data): one JSON file."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from zipcrop import files
from zipcrop.results import layout, manifest
from zipcrop.results.exports import Counts
from zipcrop.results.manifest import PHOTOS, Outcome, Person

_HEAD = {
    # Without a date: the same results are the same bytes.
    "info": {"description": "People in photos, found by zipcrop"},
    "licenses": [],
    "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
}
# In ASCII, with escapes: pycocotools and others read the file in the encoding of the system's locale.
_encode = json.JSONEncoder(ensure_ascii=True, check_circular=False).encode


def write(output: Path, archives: Iterable[str]) -> Counts:
    """Writes all photos of `archives`, in their order, with their persons: each crop is an annotation.

    Photos and persons go to the disk as they come, so that memory does not grow with their number, apart from the names
    in one archive at a time. Raises OSError where the machine is at fault; then the file is as it was.
    """
    photos = persons = 0
    with files.whole(layout.coco(output)) as part, part.open("w", encoding="ascii") as file:
        # The images stand before the annotations in the file, but both come in one pass.
        with tempfile.TemporaryFile("w+", encoding="ascii", dir=part.parent) as annotations:
            file.write(_encode(_HEAD)[:-1] + ',\n"images": [')
            for archive, file_name, member, photo in _photos(output, archives):
                photos += 1
                file.write(f"{',' if photos > 1 else ''}\n{_encode(_image(photos, archive, file_name, member, photo))}")
                for person in photo.cropped():
                    persons += 1
                    annotations.write(f"{',' if persons > 1 else ''}\n{_encode(_annotation(persons, photos, person))}")
            file.write('\n],\n"annotations": [')
            annotations.seek(0)
            shutil.copyfileobj(annotations, file, 1 << 20)
        file.write("\n]}\n")
    return Counts(photos, persons)


def _photos(output: Path, archives: Iterable[str]) -> Iterator[tuple[str, str, str, Outcome]]:
    """All photos: archive, a name that no other photo of the archive has, the member's own name, and the outcome."""
    for archive in archives:
        taken: set[str] = set()
        for member, outcome in manifest.members(output, archive):
            if outcome.status in PHOTOS:
                name = _unpacked(member)
                while name in taken:  # tools go by the name alone, and would mix up two photos
                    path = PurePosixPath(name)
                    name = str(path.parent / f"{path.stem}~{outcome.index}{path.suffix}")
                taken.add(name)
                yield archive, name, member, outcome


def _image(number: int, archive: str, file_name: str, member: str, photo: Outcome) -> dict[str, Any]:
    return {
        "id": number,
        "width": photo.width,
        "height": photo.height,
        "file_name": f"{archive}/{file_name}",
        "archive": archive,
        "member": member,
        "member_index": photo.index,
        "status": photo.status,
    }


def _annotation(number: int, image: int, person: Person) -> dict[str, Any]:
    x1, y1, x2, y2 = person.box
    # Rounded as the manifest's edges are: 0.3 and not 0.30000000000000004.
    width, height = round(x2 - x1, 3), round(y2 - y1, 3)
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [x1, y1, width, height],
        "area": round(width * height, 3),
        "iscrowd": 0,
        "segmentation": [],
        "score": person.confidence,
    }


def _unpacked(member: str) -> str:
    """The path of a member when its archive is unpacked: no tool lets it leave the folder."""
    return "/".join(part for part in member.split("/") if part not in ("", ".", ".."))
