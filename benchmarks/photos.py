"""Archives to measure on, made from given archives, or from the two photos that ultralytics ships."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

_SIZES = [(640, 480), (640, 427), (480, 640), (640, 426), (500, 375), (427, 640)]
"""The most frequent widths and heights of COCO's photos."""
_LARGE = (4032, 3024)
"""12 megapixels, as of a phone."""


def given(folder: Path) -> list[bytes]:
    """The JPEGs in the ZIP archives below `folder`."""
    photos = []
    for path in sorted(folder.rglob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            photos += [archive.read(info) for info in archive.infolist() if info.filename.lower().endswith(".jpg")]
    return photos


def made(count: int) -> list[bytes]:
    """`count` photos of COCO's sizes: seeded cut-outs, mirrored and with noise, of ultralytics' sample photos. About
    half of them show people."""
    from ultralytics.utils import ASSETS

    sources = [decode((ASSETS / name).read_bytes()) for name in ("bus.jpg", "zidane.jpg")]
    generator = np.random.default_rng(0)
    photos = []
    for number in range(count):
        width, height = _SIZES[number % len(_SIZES)]
        source = sources[number % 2]
        if generator.random() < 0.5:
            source = source[: source.shape[0] // 4]  # above everybody's heads
        part = _cut_out(source, width / height, generator)
        photos.append(_encode(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), generator, 3, 94))
    return photos


def noise(count: int) -> list[bytes]:
    """`count` photos of COCO's sizes with nothing but blurred noise, for where there is no picture at all."""
    generator = np.random.default_rng(0)
    photos = []
    for number in range(count):
        width, height = _SIZES[number % len(_SIZES)]
        coarse = generator.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        photos.append(_encode(cv2.resize(coarse, (width, height)), generator, 3, 90))
    return photos


def large(sources: Sequence[bytes], count: int) -> list[bytes]:
    """`count` 12-megapixel photos, the first of `sources` enlarged, with a sensor's noise; 3 to 5 MB each."""
    generator = np.random.default_rng(0)
    photos = []
    for number in range(count):
        photo = decode(sources[number % len(sources)])
        size = _LARGE if photo.shape[1] >= photo.shape[0] else _LARGE[::-1]
        photos.append(_encode(cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC), generator, 4, 90))
    return photos


def write_archives(photos: Sequence[bytes], folder: Path, archives: int, count: int | None = None) -> list[Path]:
    """Deals `photos` out to ZIP archives in `folder`, uncompressed; over and over, up to `count` of them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"photos{number}.zip" for number in range(archives)]
    files = [zipfile.ZipFile(path, "w") for path in paths]
    for number in range(count or len(photos)):
        files[number % archives].writestr(f"{number:06}.jpg", photos[number % len(photos)])
    for file in files:
        file.close()
    return paths


def decoded(path: Path) -> Iterator[np.ndarray]:
    """The photos in an archive, uint8 (H, W, 3) BGR."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            yield decode(archive.read(info))


def decode(data: bytes) -> np.ndarray:
    """The pixels of an image, uint8 (H, W, 3) BGR."""
    photo: np.ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert photo is not None
    return photo


def _cut_out(photo: np.ndarray, aspect: float, generator: np.random.Generator) -> np.ndarray:
    height, width = photo.shape[:2]
    part_width = int(min(width, height * aspect) * generator.uniform(0.6, 1))
    part_height = int(part_width / aspect)
    x, y = generator.integers(0, width - part_width + 1), generator.integers(0, height - part_height + 1)
    part = photo[y : y + part_height, x : x + part_width]
    return part[:, ::-1] if generator.random() < 0.5 else part


def _encode(photo: np.ndarray, generator: np.random.Generator, noise: float, quality: int) -> bytes:
    noisy = photo + (noise * generator.standard_normal(photo.shape, np.float32))
    pixels = np.clip(noisy, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
