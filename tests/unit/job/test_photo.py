"""A photo's way through a worker, without threads, pipes or an engine."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from helpers.job import SETTINGS
from helpers.photos import encoded
from zipcrop.archive.entry import Entry
from zipcrop.image import codec
from zipcrop.image.formats import ImageError
from zipcrop.image.selection import NotAnImage
from zipcrop.job import photo
from zipcrop.results.names import output_names
from zipcrop.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zipcrop.job.photo import Examined, Photo
    from zipcrop.results.manifest import Outcome

STRIDE = 32


def settings(**changes: Any) -> Settings:
    return Settings.from_flat({**SETTINGS, **{name.replace("__", "."): value for name, value in changes.items()}})


def examine(name: str, data: bytes, compressed: int | None = None, **changes: Any) -> Examined:
    entry = Entry(7, name.encode(), name, 0, 0, 0, compressed or len(data), len(data), 0)
    return photo.examine(entry, output_names([name])[0], data, settings(**changes), STRIDE)


@contextlib.contextmanager
def full_size(each: Photo) -> Iterator[np.ndarray]:
    yield codec.decode(each.examined.data, each.examined.header) if each.image is None else each.image


def keep(each: Photo, found: list[list[float]], folder: Path, **changes: Any) -> Outcome:
    persons = np.array(found, np.float32).reshape(-1, 5)
    return photo.keep(each, persons, "a", folder, settings(**changes), full_size)


def test_members_are_photos_or_skipped_or_refused() -> None:
    assert examine("bus.jpg", encoded("bus")).index == 7
    assert examine("IMG_1", encoded("bus")).header.can_reduce
    with pytest.raises(NotAnImage, match="not an image"):
        examine("README", b"text")
    with pytest.raises(ImageError, match="is text, not a photo"):
        examine("a.jpg", b"text")
    with pytest.raises(ImageError, match=r"^405x540 pixels are more than limits\.megapixels"):
        examine("a.png", encoded("bus", ".png"), limits__megapixels=0.2)


def test_memory_is_that_of_file_pixels_and_letterbox() -> None:
    data = encoded("bus")
    examined = examine("bus.jpg", data)
    assert examined.memory == len(data) + 3 * (405 * 540 + 320**2)
    assert examined.memory_of_decoding == (9 - 3) * 405 * 540


def test_a_photo_that_declares_far_more_than_its_bytes_hold() -> None:
    data = encoded("bus")
    assert not examine("bus.jpg", data).far_more
    assert examine("bus.jpg", data, compressed=405 * 540 // 500).far_more


@pytest.mark.parametrize(("decode", "scale", "reduction"), [("exact", 1.0, 1), ("fast", 1.0, 2), ("fast", 0.3, 1)])
def test_large_jpegs_are_decoded_at_a_fraction_of_their_size_on_request(
    decode: str, scale: float, reduction: int
) -> None:
    data = encoded("bus", scale=scale)
    decoded, image = photo.decode(examine("bus.jpg", data, decode=decode))
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert whole is not None
    assert decoded.examined.reduction == reduction
    assert (decoded.height, decoded.width) == whole.shape[:2]
    assert (decoded.image is None) == (reduction > 1)
    assert image.shape[0] == -(-whole.shape[0] // reduction)


def test_crops_are_cut_to_the_pixel_and_numbered_by_falling_score(tmp_path: Path) -> None:
    each, _ = photo.decode(examine("bus.png", encoded("bus", ".png")))
    outcome = keep(each, [[10, 20, 90, 200, 0.9], [100, 20, 180, 240, 0.5], [0, 0, 9, 9, 0.1]], tmp_path)
    assert (outcome.index, outcome.status, outcome.width, outcome.height) == (7, "person", 405, 540)
    assert [person.file for person in outcome.persons] == ["Person/a/bus_0.jpg", "Person/a/bus_1.jpg"]
    for person, content in zip(outcome.persons, outcome.contents, strict=True):
        crop = (tmp_path / person.file).read_bytes()
        x1, y1, x2, y2 = person.box
        assert content.size == len(crop)
        assert each.image is not None
        assert crop == codec.encode(each.image[int(y1) : int(y2), int(x1) : int(x2)], "jpg", 95)


def test_a_photo_without_persons_keeps_its_bytes_and_tells_the_best_score(tmp_path: Path) -> None:
    data = encoded("empty")
    outcome = keep(photo.decode(examine("sub/e.jpg", data))[0], [[1, 2, 30, 40, 0.2], [0, 0, 9, 9, 0.1]], tmp_path)
    assert (outcome.status, outcome.file) == ("no_person", "No_Person/a/sub/e.jpg")
    assert [person.confidence for person in outcome.persons] == [0.2]
    assert (tmp_path / outcome.file).read_bytes() == data
    nothing = keep(photo.decode(examine("sub/e.jpg", data))[0], [], tmp_path)
    assert dataclasses.replace(outcome, persons=()) == nothing


def test_persons_that_are_all_too_small_leave_nothing(tmp_path: Path) -> None:
    each, _ = photo.decode(examine("bus.jpg", encoded("bus")))
    outcome = keep(each, [[10, 20, 13, 24, 0.9], [10, 20, 14, 24, 0.8]], tmp_path, crop__min_size=50)
    assert (outcome.status, outcome.reason) == ("rejected", "no crop has 50 pixels on each side (crop.min_size)")
    assert [person.confidence for person in outcome.persons] == [0.9]
    assert list(tmp_path.iterdir()) == []


def test_a_crop_that_its_format_cannot_hold_leaves_none(tmp_path: Path) -> None:
    wide = cv2.imencode(".png", np.zeros((40, 17_000, 3), np.uint8))[1].tobytes()
    each, _ = photo.decode(examine("wide.png", wide))
    width, height = each.letterbox.shape[1], each.letterbox.shape[0]
    with pytest.raises(ImageError, match="pixels cannot be written as webp"):
        keep(each, [[0, 0, 50, height, 0.9], [0, 0, width, height, 0.8]], tmp_path, crop__format="webp")
    assert list(tmp_path.iterdir()) == []
