"""Thumbnails of crops and photos, and boxes drawn on them."""

from __future__ import annotations

import base64
import errno
import functools
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from zipcrop.image import codec, formats
from zipcrop.image.formats import Header, ImageError

if TYPE_CHECKING:
    from zipcrop.report.pictures import Pictures

Box = Sequence[float]
_BOX_COLOUR = (0, 94, 213)  # BGR of the vermilion of the plots
_EMPTY = 160
"""Grey where nothing of a photo is left."""
_MOST_ENLARGED = 4
"""Times, so that small crops stay recognisable as such."""


def of_files(pictures: Pictures, paths: Iterable[Path], width: int, height: int) -> Iterator[np.ndarray | None]:
    """The result of `of_file` for each of `paths`, in the processes of `pictures`; None for files that cannot be
    shown."""
    return pictures.map(functools.partial(of_file, width=width, height=height, megapixels=pictures.megapixels), paths)


def of_file(path: Path, width: int, height: int, megapixels: float) -> np.ndarray | None:
    """The image in the file at `path`, uint8 (h, w, 3) BGR, scaled to fit into `width` x `height` pixels.

    None if it is no file any more (a link is none), has more than `megapixels` or cannot be decoded. Raises
    MemoryError.
    """
    try:
        data = _read(path)
        header = formats.identify("", data)  # its name has been judged when it was kept
        if header.size is not None and header.size[0] * header.size[1] > megapixels * 1e6:
            return None
        decoded = codec.decode(data, header, _reduction(header, width, height))
    except (OSError, ImageError):
        return None
    return _fit(decoded, width, height)


def _read(path: Path) -> bytes:
    """The bytes of a regular file. Raises OSError, also for anything else: a pipe would make it wait."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read()


def with_box(thumbnail: np.ndarray, box: Box, photo: Box) -> np.ndarray:
    """A copy of the `thumbnail` of a photo on which `box` is drawn (see `draw_box`)."""
    copy = np.ascontiguousarray(thumbnail).copy()
    draw_box(copy, box, photo)
    return copy


def of_crops(crops: Sequence[tuple[Box, Box, np.ndarray | None]], photo: Box, width: int, height: int) -> np.ndarray:
    """What is left of a photo with persons, on grey, in `width` x `height` pixels at most. Each crop is the person's
    box, the crop's rectangle (x, y, width, height), both in pixels of the photo, and its thumbnail, if it can be shown.
    All boxes are drawn."""
    gain = min(width / photo[0], height / photo[1])
    canvas = np.full((max(1, round(photo[1] * gain)), max(1, round(photo[0] * gain)), 3), _EMPTY, np.uint8)
    for _, (x, y, crop_width, crop_height), crop in reversed(crops):  # the surest on top
        part = canvas[
            round(y * gain) : round((y + crop_height) * gain), round(x * gain) : round((x + crop_width) * gain)
        ]
        if part.size and crop is not None:
            part[:] = cv2.resize(crop, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_AREA)
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


def _reduction(header: Header, width: int, height: int) -> int:
    """By what an image's sides can be divided while it is decoded, so that scaling it down has still something to
    do."""
    if header.size is None or not header.can_reduce:
        return 1
    spare = max(header.size) / (2 * max(width, height))
    return max(reduction for reduction in (1, 2, 4, 8) if reduction <= max(1, spare))


def _fit(decoded: np.ndarray, width: int, height: int) -> np.ndarray:
    gain = min(width / decoded.shape[1], height / decoded.shape[0], _MOST_ENLARGED)
    size = (max(1, round(decoded.shape[1] * gain)), max(1, round(decoded.shape[0] * gain)))
    fitting: np.ndarray = cv2.resize(decoded, size, interpolation=cv2.INTER_AREA if gain < 1 else cv2.INTER_CUBIC)
    return fitting
