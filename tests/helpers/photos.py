"""Photos: two with persons, one without."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import cv2
import numpy as np

from helpers.job import IMAGE_SIZE
from zipcrop.detect.letterbox import Letterbox


@functools.cache
def photo(name: str) -> np.ndarray:
    """A photo that ultralytics ships, `bus` or `zidane`, with persons in it; or `empty`, one without."""
    if name == "empty":
        return np.tile(np.linspace(60, 200, 320, dtype=np.uint8)[None, :, None], (240, 1, 3))
    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None
    assert spec.submodule_search_locations
    image: np.ndarray | None = cv2.imread(str(Path(spec.submodule_search_locations[0], "assets", f"{name}.jpg")))
    assert image is not None
    return image


def encoded(name: str, suffix: str = ".jpg", scale: float = 0.5) -> bytes:
    """A photo as the bytes of a file."""
    image = cv2.resize(photo(name), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(suffix, image)[1].tobytes()


def letterboxed(image: np.ndarray, size: int = IMAGE_SIZE, stride: int = 32) -> np.ndarray:
    """The letterbox of an image, uint8 (H, W, 3), for a network that takes `size` pixels."""
    height, width = image.shape[:2]
    letterbox = Letterbox.fit(height, width, size, stride)
    return letterbox.apply(image, np.empty((*letterbox.shape, 3), np.uint8))
