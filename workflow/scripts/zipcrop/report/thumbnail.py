"""Thumbnails of crops and photos, and boxes drawn on them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from zipcrop import image, jpeg

Box = Sequence[float]
_BOX_COLOUR = (0, 94, 213)  # BGR of the vermilion of the plots
_EMPTY = 160
"""Grey where nothing of a photo is left."""
_MOST_ENLARGED = 4
"""Times. Small crops stay recognisable as such."""


def of_file(path: Path, width: int, height: int, box: Box | None = None, photo: Box | None = None) -> np.ndarray | None:
    """The image in the file at `path`, uint8 (h, w, 3) BGR, scaled to fit into `width` x `height` pixels; with `box`
    (x1, y1, x2, y2 in pixels of the upright photo of `photo` = (width, height)) drawn on it.

    None if it is not there any more or cannot be decoded.
    """
    try:
        data = path.read_bytes()
        decoded = image.decode(data, _reduction(data, width, height))
    except (OSError, image.ImageError):
        return None
    small = _fit(decoded, width, height)
    if box is not None and photo is not None:
        small = np.ascontiguousarray(small).copy()
        draw_box(small, box, photo)
    return small


def of_crops(crops: Sequence[tuple[Box, Box, Path]], photo: Box, width: int, height: int) -> np.ndarray:
    """What is left of a photo with people, on grey: its crops, each a box, the place (x, y, width, height in pixels of
    the photo) of its crop, and the crop's file; each box is drawn."""
    gain = min(width / photo[0], height / photo[1])
    canvas = np.full((max(1, round(photo[1] * gain)), max(1, round(photo[0] * gain)), 3), _EMPTY, np.uint8)
    for _, (x, y, crop_width, crop_height), path in reversed(crops):  # the surest on top
        place = canvas[
            round(y * gain) : round((y + crop_height) * gain), round(x * gain) : round((x + crop_width) * gain)
        ]
        crop = of_file(path, width, height)
        if place.size and crop is not None:
            place[:] = cv2.resize(crop, (place.shape[1], place.shape[0]), interpolation=cv2.INTER_AREA)
    for box, _, _ in crops:
        draw_box(canvas, box, photo)
    return canvas


def draw_box(thumbnail: np.ndarray, box: Box, photo: Box) -> None:
    """Draws `box`, pixels of the photo of `photo` = (width, height), onto its `thumbnail`."""
    height, width = thumbnail.shape[:2]
    x1, y1, x2, y2 = (
        round(edge * scale) for edge, scale in zip(box, [width / photo[0], height / photo[1]] * 2, strict=True)
    )
    corner = (min(x2, width - 1), min(y2, height - 1))
    cv2.rectangle(thumbnail, (x1, y1), corner, (255, 255, 255), 3)  # seen on any ground
    cv2.rectangle(thumbnail, (x1, y1), corner, _BOX_COLOUR, 1)


def data_uri(thumbnail: np.ndarray, quality: int = 80) -> str:
    """`thumbnail` as a JPEG in a data URI."""
    encoded = cv2.imencode(".jpg", thumbnail, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _reduction(data: bytes, width: int, height: int) -> int:
    """By what a JPEG's sides can be divided while it is decoded, so that scaling it down has still something to do."""
    size = image.header_size(data) if jpeg.is_jpeg(data) else None
    if size is None:
        return 1
    spare = max(size) / (2 * max(width, height))
    return max(reduction for reduction in (1, 2, 4, 8) if reduction <= max(1, spare))


def _fit(decoded: np.ndarray, width: int, height: int) -> np.ndarray:
    gain = min(width / decoded.shape[1], height / decoded.shape[0], _MOST_ENLARGED)
    size = (max(1, round(decoded.shape[1] * gain)), max(1, round(decoded.shape[0] * gain)))
    return cv2.resize(decoded, size, interpolation=cv2.INTER_AREA if gain < 1 else cv2.INTER_CUBIC)
