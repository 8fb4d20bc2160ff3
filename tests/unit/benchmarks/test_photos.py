"""The benchmarks' own photos."""

from __future__ import annotations

import zipfile
from pathlib import Path

import photos


def test_made_photos_have_cocos_sizes_and_are_the_same_every_time() -> None:
    made = photos.made(4)
    shapes = [photos.decode(photo).shape for photo in made]
    assert shapes == [(480, 640, 3), (427, 640, 3), (640, 480, 3), (426, 640, 3)]
    assert made == photos.made(4)
    assert len(set(made)) == 4


def test_large_photos_have_12_megapixels_and_keep_their_orientation() -> None:
    made = photos.large(photos.made(3)[1:], 2)
    shapes = [photos.decode(photo).shape for photo in made]
    assert shapes == [(3024, 4032, 3), (4032, 3024, 3)]


def test_photos_are_dealt_out_over_and_over_and_found_again(tmp_path: Path) -> None:
    sources = photos.made(3)
    paths = photos.write_archives(sources, tmp_path, 2, 8)
    counts = [len(zipfile.ZipFile(path).namelist()) for path in paths]
    assert counts == [4, 4]
    assert photos.given(tmp_path) == [sources[number % 3] for number in (0, 2, 4, 6, 1, 3, 5, 7)]
    assert [photo.shape for photo in photos.decoded(paths[0])][:2] == [(480, 640, 3), (640, 480, 3)]
