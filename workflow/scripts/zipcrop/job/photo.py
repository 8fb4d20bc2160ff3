"""A photo's way through a worker, as functions without threads or pipes: bytes to photo, photo to outcome."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zipcrop import files
from zipcrop.detect.letterbox import Letterbox
from zipcrop.errors import machine_faults
from zipcrop.image import codec, formats, selection
from zipcrop.image.crop import crop_slice
from zipcrop.image.formats import Header, ImageError
from zipcrop.process.overtime import is_far_more
from zipcrop.results import layout
from zipcrop.results.manifest import Content, Outcome, Person

if TYPE_CHECKING:
    from zipcrop.archive.entry import Entry
    from zipcrop.results.names import OutputName
    from zipcrop.settings import CropSettings, Limits, Settings

_MOST_DECODING_BYTES = 9
"""Bytes for each of limits.megapixels that decoding may take: JPEG's. Some formats take twice as much."""


@dataclass(frozen=True)
class Examined:
    """A photo that has been read, and not yet decoded."""

    index: int
    """Of the member."""
    name: OutputName
    data: bytes
    header: Header
    declared: int
    """Pixels, as the header declares them; the most that are allowed where it does not."""
    far_more: bool
    """Whether it declares far more than its bytes in the archive hold; then its time counts as overtime."""
    image_size: int
    stride: int
    reduction: int
    """The divisor of its sides for detection: 1, 2, 4 or 8."""

    @property
    def memory(self) -> int:
        """The bytes that the photo will hold until it is written: the file, the pixels and the letterbox."""
        return len(self.data) + 3 * (self._pixels + self.image_size**2)

    @property
    def memory_of_decoding(self) -> int:
        """The bytes that decoding takes beyond `memory`."""
        return (self.header.decoding_bytes - 3) * self._pixels

    @property
    def _pixels(self) -> int:
        return self.declared // self.reduction**2


@dataclass(frozen=True)
class Photo:
    """A photo that has been decoded."""

    examined: Examined
    image: np.ndarray | None
    """uint8 (H, W, 3) BGR, upright, in full size; None if it was decoded at a reduced size."""
    letterbox: Letterbox
    pixels: np.ndarray
    """The image in its letterbox, uint8 (h, w, 3) BGR."""

    @property
    def index(self) -> int:
        """Of the member."""
        return self.examined.index

    @property
    def width(self) -> int:
        """Of the upright image in full size, pixels."""
        return self.letterbox.width

    @property
    def height(self) -> int:
        """Of the upright image in full size, pixels."""
        return self.letterbox.height

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the letterbox, pixels."""
        return self.letterbox.shape


FullSize = Callable[[Photo], AbstractContextManager[np.ndarray]]
"""Gives a photo's image in full size for a `with` block, within which its crops are encoded."""


def examine(entry: Entry, name: OutputName, data: bytes, settings: Settings, stride: int) -> Examined:
    """What the bytes `data` of a member are. `entry` is its entry in the archive, `name` what its results are
    called, `stride` the network's.

    Raises NotAnImage if the member is skipped, ImageError if it is refused.
    """
    selection.require_image(entry.name, data)
    header = formats.identify(entry.name, data)
    _check_size(header, settings.limits)
    size = header.size
    declared = size[0] * size[1] if size else int(settings.limits.megapixels * 1e6)
    return Examined(
        index=entry.number,
        name=name,
        data=data,
        header=header,
        declared=declared,
        far_more=is_far_more(max(declared, entry.compressed_size + len(data)), entry.compressed_size),
        image_size=settings.image_size,
        stride=stride,
        reduction=_reduction(header, settings, stride),
    )


def _check_size(header: Header, limits: Limits) -> None:
    """Raises ImageError if the header declares too much."""
    if header.size is None:
        return
    width, height = header.size
    if width * height > limits.megapixels * 1e6:
        raise ImageError(f"{width}x{height} pixels are more than limits.megapixels ({limits.megapixels:g})")
    if width * height * header.decoding_bytes > limits.megapixels * 1e6 * _MOST_DECODING_BYTES:
        raise ImageError(f"{width}x{height} pixels of this format take too much memory to decode (limits.megapixels)")


def _reduction(header: Header, settings: Settings, stride: int) -> int:
    """The divisor of the photo's sides for detection."""
    if settings.decode != "fast" or header.size is None or not header.can_reduce:
        return 1
    width, height = header.size
    reduction = Letterbox.fit(height, width, settings.image_size, stride).reduction()
    # A reduced image that is square would not show whether EXIF has turned it.
    is_hidden = width != height and -(-width // reduction) == -(-height // reduction)
    return 1 if is_hidden else reduction


def decode(examined: Examined) -> Photo:
    """The photo, decoded and letterboxed. Raises ImageError, MemoryError."""
    decoded = codec.decode(examined.data, examined.header, examined.reduction)
    height, width = decoded.shape[:2]
    size = examined.header.size
    if size is not None and examined.reduction > 1:
        # Upright, it may lie on its side.
        width, height = size if (width >= height) == (size[0] >= size[1]) else (size[1], size[0])
    letterbox = Letterbox.fit(height, width, examined.image_size, examined.stride)
    image = decoded if examined.reduction == 1 else None
    pixels = letterbox.apply(decoded, np.empty((*letterbox.shape, 3), np.uint8))
    return Photo(examined, image, letterbox, pixels)


def keep(
    photo: Photo, found: np.ndarray, archive: str, staging: Path, settings: Settings, full_size: FullSize
) -> Outcome:
    """Writes the crops of `photo`, or its original if it has no persons, into the folder `staging`. The photo is one of
    `archive`; `found` is the result of `Engine.detect` for it.

    Raises ImageError, MachineError.
    """
    is_kept = found[:, 4] > settings.thresholds.confidence
    # They come by falling score. Of a photo without people, the best candidate is reported.
    persons = _persons(photo, found[: max(1, int(is_kept.sum()))])
    if not is_kept.any():
        file = f"{layout.NO_PERSON}/{archive}/{photo.examined.name.original}"
        content = _write(staging / file, photo.examined.data)
        return Outcome(
            photo.index, "no_person", "", photo.width, photo.height, tuple(persons), file, contents=(content,)
        )
    crops = _encode_crops(photo, persons, settings.crop, full_size)
    if not crops:
        reason = f"no crop has {settings.crop.min_size} pixels on each side (crop.min_size)"
        return Outcome(photo.index, "rejected", reason, photo.width, photo.height, (persons[0],))
    written, contents = [], []
    for k, (person, data) in enumerate(crops):
        file = f"{layout.PERSON}/{archive}/{photo.examined.name.crop(k, settings.crop.format)}"
        contents.append(_write(staging / file, data))
        written.append(Person(person.box, person.confidence, file))
    return Outcome(photo.index, "person", "", photo.width, photo.height, tuple(written), contents=tuple(contents))


def _persons(photo: Photo, found: np.ndarray) -> list[Person]:
    """Rounded as the manifest has them, so that crops are, to the pixel, what the manifest says."""
    return [
        Person(_rounded(box), round(float(score), 6))
        for box, score in zip(photo.letterbox.to_image(found[:, :4]), found[:, 4], strict=True)
    ]


def _rounded(box: np.ndarray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(float(edge), 3) for edge in box)
    return x1, y1, x2, y2


def _encode_crops(
    photo: Photo, persons: list[Person], crop: CropSettings, full_size: FullSize
) -> list[tuple[Person, bytes]]:
    """The persons whose crops are large enough, with their crops as files. All are encoded before any is written: a
    photo leaves all of its crops or none."""
    wanted = []
    for person in persons:
        rows, columns = crop_slice(person.box, crop.padding, photo.width, photo.height)
        if min(rows.stop - rows.start, columns.stop - columns.start) >= crop.min_size:
            wanted.append((person, rows, columns))
    if not wanted:
        return []
    with full_size(photo) as image:
        return [
            (person, codec.encode(image[rows, columns], crop.format, crop.quality)) for person, rows, columns in wanted
        ]


def _write(path: Path, data: bytes) -> Content:
    with machine_faults(f"writing {path}"):
        files.create(path, data)
    return Content.of(data)
