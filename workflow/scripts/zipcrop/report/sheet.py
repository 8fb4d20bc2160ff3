"""Contact sheets: many small pictures on one JPEG, each with its name and score."""

from __future__ import annotations

import functools
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zipcrop.terminal import printable

MOST_BYTES = 200_000
"""Of a sheet, so that the report stays small; a lower JPEG quality makes room."""
_WIDTH = 1280
"""Pixels."""
_MARGIN = 12
_GAP = 8
_TITLE = 44
_LINE = 15
_PAPER, _INK, _FAINT, _GROUND = "#fefefe", "#1a1a1a", "#5a5a5a", "#e9e9e9"
_QUALITIES = (85, 75, 65, 55, 45, 35, 25)


@dataclass(frozen=True)
class Tile:
    """A picture on a sheet."""

    image: np.ndarray | None
    """uint8 (H, W, 3) BGR, no larger than the tile; None if it cannot be shown."""
    name: str
    note: str


@dataclass(frozen=True)
class Layout:
    """The number of pictures in a row, and their height ÷ width."""

    columns: int
    aspect: float

    @property
    def tile(self) -> tuple[int, int]:
        """Width and height of a picture, pixels."""
        width = (_WIDTH - 2 * _MARGIN - (self.columns - 1) * _GAP) // self.columns
        return width, round(width * self.aspect)


CROPS = Layout(10, 1.3)
PHOTOS = Layout(6, 0.75)


def draw(title: str, subtitle: str, tiles: Sequence[Tile], layout: Layout) -> bytes:
    """A contact sheet as JPEG of at most MOST_BYTES, or larger if even the lowest quality is."""
    width, height = layout.tile
    rows = -(-len(tiles) // layout.columns)
    row_height = height + 2 * _LINE + _GAP
    sheet = Image.new("RGB", (_WIDTH, _TITLE + rows * row_height + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, 6), _fitted(title, _font(15, bold=True), _WIDTH - 2 * _MARGIN), _INK, _font(15, bold=True))
    pen.text((_MARGIN, 25), subtitle, _FAINT, _font(11))
    for number, tile in enumerate(tiles):
        x = _MARGIN + number % layout.columns * (width + _GAP)
        y = _TITLE + number // layout.columns * row_height
        pen.rectangle((x, y, x + width - 1, y + height - 1), _GROUND)
        if tile.image is None:
            pen.text((x + 6, y + 6), "cannot be\nshown", _FAINT, _font(11))
        else:
            picture = Image.fromarray(np.ascontiguousarray(tile.image[..., ::-1]))
            sheet.paste(picture, (x + (width - picture.width) // 2, y + (height - picture.height) // 2))
        pen.text((x, y + height + 1), _fitted(tile.name, _font(11), width), _INK, _font(11))
        pen.text((x, y + height + _LINE), _fitted(tile.note, _font(11), width), _FAINT, _font(11))
    return _encode(sheet)


def _encode(sheet: Image.Image) -> bytes:
    for quality in _QUALITIES:
        file = io.BytesIO()
        sheet.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= MOST_BYTES:
            break
    return file.getvalue()


@functools.cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with Matplotlib."""
    spec = importlib.util.find_spec("matplotlib")  # importing it takes as long as drawing some sheets
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"), size)


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """`text` on one line, without its beginning if it is too wide: photos' names differ at their ends."""
    text = printable(text)
    end = text[-width:]  # no visible character is narrower than a pixel
    if end == text and font.getlength(text) <= width:
        return text
    while end and font.getlength(f"…{end}") > width:
        end = end[1:]
    return f"…{end}"
