"""Decoding and letterboxing alone, on all cores: no engine, however fast, gets its photos sooner.

usage: decoding.py IMAGE_SIZE THREADS ZIP [ZIP ...]
"""

from __future__ import annotations

import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from zipcrop.detect.letterbox import Letterbox
from zipcrop.image import codec, formats


def main() -> None:
    image_size, threads, *archives = sys.argv[1:]
    files = []
    for path in archives:
        with zipfile.ZipFile(path) as archive:
            files += [archive.read(info) for info in archive.infolist()]
    cv2.setNumThreads(1)

    def prepare(data: bytes) -> None:
        photo = codec.decode(data, formats.identify("", data))
        letterbox = Letterbox.fit(photo.shape[0], photo.shape[1], int(image_size), 32)
        letterbox.apply(photo, np.empty((*letterbox.shape, 3), np.uint8))

    with ThreadPoolExecutor(int(threads)) as executor:
        started = time.perf_counter()
        for _ in executor.map(prepare, files):
            pass
        print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
