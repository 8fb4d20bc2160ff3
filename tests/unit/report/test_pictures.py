"""Pictures that crash their decoder or hang in it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.photos import encoded
from zipcrop.image import codec
from zipcrop.report import thumbnail
from zipcrop.report.pictures import Pictures

if TYPE_CHECKING:
    import numpy as np

    from zipcrop.image.formats import Header

GOOD = encoded("zidane", scale=0.3)
DEADLY = encoded("bus", scale=0.3)
HANGING = encoded("empty", scale=0.3)
HUGE = encoded("empty", scale=0.4)


def of_file(path: Path, width: int, height: int, megapixels: float) -> np.ndarray | None:
    original = codec.decode

    def decode(data: bytes, header: Header, reduction: int = 1) -> np.ndarray:
        if data == DEADLY:
            signal.raise_signal(signal.SIGSEGV)
        if data == HANGING:
            re.match("(a*)*b", "a" * 60)  # for ever, with Python's lock
        if data == HUGE:
            raise MemoryError
        return original(data, header, reduction)

    codec.decode = decode
    try:
        return real(path, width, height, megapixels)
    finally:
        codec.decode = original


real = thumbnail.of_file


@pytest.mark.parametrize("threads", [1, 2])
def test_what_cannot_be_shown_costs_itself_alone(threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnail, "of_file", of_file)
    contents = [GOOD, DEADLY, GOOD, HANGING, HUGE, GOOD, b"no photo", DEADLY, GOOD]
    paths = [tmp_path / f"{number}.jpg" for number in range(len(contents) + 2)]
    for path, content in zip(paths, contents, strict=False):
        path.write_bytes(content)
    os.mkfifo(paths[-2])
    with Pictures(threads, 3, 100) as pictures:
        found = list(thumbnail.of_files(pictures, paths, 100, 100))
    shown = [None if picture is None else picture.shape for picture in found]
    assert shown == [(56, 100, 3) if content == GOOD else None for content in [*contents, b"", b""]]


def test_what_is_too_large_cannot_be_shown(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(GOOD)  # 384x216
    for megapixels, can_be_shown in ((0.1, True), (0.05, False)):
        with Pictures(1, 60, megapixels) as pictures:
            (picture,) = thumbnail.of_files(pictures, [tmp_path / "a.jpg"], 100, 100)
        assert (picture is not None) == can_be_shown
