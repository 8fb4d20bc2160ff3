"""The letterbox: an image scaled to fit a square, padded to the smallest rectangle whose sides the stride divides.

The same arithmetic, rounding included, as ultralytics 8.4's `LetterBox(auto=True)` and `ops.scale_boxes`, so that boxes
equal those of `YOLO.predict` on the image alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_GREY = 114


@dataclass(frozen=True)
class Letterbox:
    """How an image of `height` x `width` pixels lies in its letterbox of `shape` (height, width)."""

    height: int
    width: int
    scaled_height: int
    scaled_width: int
    top: int
    left: int
    shape: tuple[int, int]

    @classmethod
    def fit(cls, height: int, width: int, size: int, stride: int) -> Letterbox:
        """The letterbox for an image: longer side `size` pixels, sides multiples of `stride`."""
        gain = min(size / height, size / width)
        scaled_width, scaled_height = max(round(width * gain), 1), max(round(height * gain), 1)
        pad_width, pad_height = (size - scaled_width) % stride / 2, (size - scaled_height) % stride / 2
        left, right = round(pad_width - 0.1), round(pad_width + 0.1)
        top, bottom = round(pad_height - 0.1), round(pad_height + 0.1)
        shape = (scaled_height + top + bottom, scaled_width + left + right)
        return cls(height, width, scaled_height, scaled_width, top, left, shape)

    def reduction(self) -> int:
        """The largest of 1, 2, 4 and 8 (a JPEG decoder can divide the sides by these) that leaves the image no smaller
        than it will be in the letterbox."""
        return max(
            divisor
            for divisor in (1, 2, 4, 8)
            if divisor == 1
            or (-(-self.width // divisor) >= self.scaled_width and -(-self.height // divisor) >= self.scaled_height)
        )

    def apply(self, image: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Puts `image`, uint8 (height, width, 3), whole or reduced, in its letterbox into `out`, uint8 (*shape, 3), and
        gives `out`. That may be a view of other memory whose pixels lie side by side in each row.

        Raises ValueError if `out` is another array.
        """
        if out.shape != (*self.shape, 3) or out.dtype != np.uint8:  # OpenCV would write to new memory instead
            raise ValueError(f"out is {out.dtype} {out.shape}, not uint8 {(*self.shape, 3)}")
        bottom, right = self.top + self.scaled_height, self.left + self.scaled_width
        between = out[self.top : bottom]
        inside = between[:, self.left : right]
        if image.shape == inside.shape:
            inside[:] = image
        else:
            cv2.resize(image, (self.scaled_width, self.scaled_height), dst=inside, interpolation=cv2.INTER_LINEAR)
        for border in (out[: self.top], out[bottom:], between[:, : self.left], between[:, right:]):
            border[:] = _GREY
        return out

    def to_image(self, boxes: np.ndarray) -> np.ndarray:
        """Takes `boxes`, float32 (n, 4) x1, y1, x2, y2, from letterbox pixels to pixels of the image, clipped to it."""
        # As in scale_boxes, the geometry follows from the two shapes alone. Each axis has a gain of its own, since each
        # side was rounded; if the short side needed no padding, that rounding can even shift the long side's.
        gain = min(self.shape[0] / self.height, self.shape[1] / self.width)
        scaled_height, scaled_width = max(round(self.height * gain), 1), max(round(self.width * gain), 1)
        left = round((self.shape[1] - scaled_width) / 2 - 0.1)
        top = round((self.shape[0] - scaled_height) / 2 - 0.1)
        gains = np.array([scaled_width / self.width, scaled_height / self.height] * 2, np.float32)
        offset = np.array([left, top] * 2, np.float32)
        limit = np.array([self.width, self.height] * 2, np.float32)
        clipped: np.ndarray = np.clip((boxes - offset) / gains, 0, limit)
        return clipped
