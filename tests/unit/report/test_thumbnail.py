from __future__ import annotations

import base64
import functools
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.photos import encoded
from zipcrop.report import thumbnail

load = functools.partial(thumbnail.of_file, width=100, height=100, megapixels=100)


def write(path: Path, image: np.ndarray) -> Path:
    cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize(
    ("size", "shown"), [((800, 400), (100, 50)), ((400, 800), (50, 100)), ((10, 10), (40, 40)), ((1, 200), (1, 100))]
)
def test_it_fits_and_keeps_its_shape(tmp_path: Path, size: tuple[int, int], shown: tuple[int, int]) -> None:
    width, height = size
    found = load(write(tmp_path / "a.png", np.zeros((height, width, 3), np.uint8)))
    assert found is not None
    assert found.shape == (*shown[::-1], 3)


def test_a_large_jpeg_is_reduced_while_it_is_decoded_and_looks_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded("bus", scale=2.0))
    (tmp_path / "a.png").write_bytes(encoded("bus", ".png", scale=2.0))
    reduced, whole = (load(tmp_path / name) for name in ("a.jpg", "a.png"))
    assert reduced is not None
    assert whole is not None
    assert reduced.shape == whole.shape
    assert np.abs(reduced.astype(int) - whole).mean() < 4


@pytest.mark.parametrize("content", [None, b"", b"no photo", encoded("bus")[:500]])
def test_what_cannot_be_shown_is_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    assert load(tmp_path / "a.jpg") is None


def test_what_was_kept_is_shown_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "a.nef").write_bytes(encoded("bus"))
    assert load(tmp_path / "a.nef") is not None


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "device"])
def test_only_files_are_opened(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    if kind == "pipe":
        os.mkfifo(path)  # who opens it waits until somebody writes
    elif kind == "link":
        path.symlink_to(write(tmp_path / "b.png", np.zeros((20, 20, 3), np.uint8)))
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/zero")  # without end
    assert load(path) is None


def test_what_has_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", np.zeros((1000, 1000, 3), np.uint8))
    assert thumbnail.of_file(path, 100, 100, megapixels=1) is not None
    assert thumbnail.of_file(path, 100, 100, megapixels=0.999) is None


def test_the_box_is_where_the_photo_has_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", np.full((400, 200, 3), 128, np.uint8))
    plain = load(path)
    assert plain is not None
    found = thumbnail.with_box(plain, (100, 200, 150, 300), (200, 400))
    assert (plain == 128).all()
    changed = np.argwhere((found != 128).any(axis=2))
    # Half as wide as high: 50 x 100, so a quarter of the size; the line is three pixels wide.
    assert changed.min(axis=0).tolist() == pytest.approx([50, 25], abs=3)
    assert changed.max(axis=0).tolist() == pytest.approx([75, 37.5], abs=3)


def test_a_photo_is_put_together_from_its_crops() -> None:
    red, blue = (np.full((50, 50, 3), colour, np.uint8) for colour in ((0, 0, 255), (255, 0, 0)))
    boxes = [
        ((0.0, 0.0, 50.0, 50.0), (0, 0, 50, 50), red),
        ((150.0, 50.0, 200.0, 100.0), (150, 50, 50, 50), blue),
        ((0.0, 60.0, 9.0, 70.0), (0, 60, 9, 10), None),
    ]
    found = thumbnail.of_crops(boxes, (200, 100), 200, 200)
    assert found.shape == (100, 200, 3)
    assert found[25, 25].tolist() == [0, 0, 255]
    assert found[75, 175].tolist() == [255, 0, 0]
    assert found[25, 100].tolist() == [160, 160, 160]


def test_what_padding_added_is_around_the_box() -> None:
    crop = np.full((60, 60, 3), (255, 0, 0), np.uint8)
    crop[20:40, 20:40] = (0, 0, 255)  # the person
    found = thumbnail.of_crops([((80.0, 40.0, 100.0, 60.0), (60, 20, 60, 60), crop)], (200, 100), 200, 200)
    assert found[50, 90].tolist() == [0, 0, 255]
    assert found[25, 65].tolist() == [255, 0, 0]
    assert found[10, 90].tolist() == [160, 160, 160]


def test_a_data_uri_holds_the_picture() -> None:
    uri = thumbnail.data_uri(np.zeros((4, 6, 3), np.uint8))
    data = np.frombuffer(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (4, 6, 3)
