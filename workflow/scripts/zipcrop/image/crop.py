"""Crops: from a person's box to the pixels that are kept."""

from __future__ import annotations

from collections.abc import Sequence


def crop_slice(box: Sequence[float], padding: float, width: int, height: int) -> tuple[slice, slice]:
    """Rows and columns of the crop for `box` (x1, y1, x2, y2 in pixels of an image of `width` x `height`), with
    `padding` times the box's own width and height added on each side, clipped to the image.

    With padding 0 that is `image[int(y1):int(y2), int(x1):int(x2)]`.
    """
    x1, y1, x2, y2 = box
    pad_x, pad_y = padding * (x2 - x1), padding * (y2 - y1)
    columns = slice(int(max(0.0, x1 - pad_x)), int(min(float(width), x2 + pad_x)))
    rows = slice(int(max(0.0, y1 - pad_y)), int(min(float(height), y2 + pad_y)))
    return rows, columns
