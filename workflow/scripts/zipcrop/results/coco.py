"""The export for tools that read COCO's detection format (https://cocodataset.org/#format-data): one JSON file."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from zipcrop import files
from zipcrop.results import exports
from zipcrop.results.exports import Counts, Detection, ManifestEntry

_PHOTOS = frozenset(("person", "no_person", "rejected"))
_HEAD = {
    # Without a date: the same results are the same bytes.
    "info": {"description": "People in photos, found by zipcrop"},
    "licenses": [],
    "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
}
# In ASCII, with escapes: pycocotools and others read the file in whatever encoding the system's locale has.
_encode = json.JSONEncoder(ensure_ascii=True).encode


def path(output: Path) -> Path:
    """The file, below the folder `output`."""
    return output / "summary" / "annotations.coco.json"


def write(output: Path, archives: Iterable[str]) -> Counts:
    """Writes all photos of `archives`, in their order, with their people: what has a crop is an annotation.

    Photos and people go to the disk as they come, so that memory does not grow with their number, but for the names of
    one archive at a time. Raises OSError where
    the machine is at fault; then the file is as it was.
    """
    photos = people = 0
    with files.whole(path(output)) as part, part.open("w", encoding="ascii") as file:
        # The images stand before the annotations in the file, but both come in one pass.
        with tempfile.TemporaryFile("w+", encoding="ascii", dir=part.parent) as annotations:
            file.write(_encode(_HEAD)[:-1] + ',\n"images": [')
            for archive, name, photo in _photos(output, archives):
                photos += 1
                file.write(f"{',' if photos > 1 else ''}\n{_image(photos, archive, name, photo)}")
                for person in photo.people:
                    people += 1
                    annotations.write(f"{',' if people > 1 else ''}\n{_annotation(people, photos, person)}")
            file.write('\n],\n"annotations": [')
            annotations.seek(0)
            shutil.copyfileobj(annotations, file, 1 << 20)
        file.write("\n]}\n")
    return Counts(photos, people)


def _photos(output: Path, archives: Iterable[str]) -> Iterator[tuple[str, str, ManifestEntry]]:
    """All photos, each with its archive and a name that no other one of it has."""
    for archive in archives:
        taken: set[str] = set()
        for entry in exports.entries(output, archive):
            if entry.status in _PHOTOS:
                name = _unpacked(entry.member)
                while name in taken:  # tools go by the name alone, and would take one's people for the other's
                    path = PurePosixPath(name)
                    name = str(path.parent / f"{path.stem}~{entry.index}{path.suffix}")
                taken.add(name)
                yield archive, name, entry


# JSON put together by hand: the encoder would take a third of the time.
def _image(number: int, archive: str, name: str, photo: ManifestEntry) -> str:
    return (
        f'{{"id": {number}, "width": {photo.width}, "height": {photo.height},'
        f' "file_name": {_encode(f"{archive}/{name}")}, "archive": {_encode(archive)},'
        f' "member": {_encode(photo.member)}, "member_index": {photo.index}, "status": "{photo.status}"}}'
    )


def _annotation(number: int, image: int, person: Detection) -> str:
    # Rounded as the manifest's edges are: 0.3 and not 0.30000000000000004.
    width, height = round(person.x2 - person.x1, 3), round(person.y2 - person.y1, 3)
    return (
        f'{{"id": {number}, "image_id": {image}, "category_id": 1,'
        f' "bbox": [{person.x1}, {person.y1}, {width}, {height}], "area": {round(width * height, 3)},'
        f' "iscrowd": 0, "segmentation": [], "score": {person.confidence}}}'
    )


def _unpacked(member: str) -> str:
    """Where a member goes when its archive is unpacked: no tool lets it leave the folder."""
    return "/".join(part for part in member.split("/") if part not in ("", ".", ".."))
