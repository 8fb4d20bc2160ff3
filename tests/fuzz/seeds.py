"""Well-formed archives and images: what the fuzzer mutates."""

from __future__ import annotations

import functools
import struct
import zlib
from typing import Any

import cv2
import images
import numpy as np
from archives import BZIP2, DEFLATE, LZMA, PNG, UTF8, Entry, build, encrypted, quoted_overlap


@functools.cache
def archive_seeds() -> list[bytes]:
    """Small archives, each with a peculiarity."""
    unicode_path = struct.pack("<2HBL", 0x7075, 5 + len("ä.jpg".encode()), 1, zlib.crc32(b"u.jpg")) + "ä.jpg".encode()
    plain = [
        Entry(b"a.jpg"),
        Entry(b"folder/", b""),
        Entry(b"folder/b.jpg", method=DEFLATE),
        Entry(b"c", PNG, method=BZIP2),
        Entry(b"d.png", PNG, method=LZMA),
        Entry(b"notes.txt", b"text" * 50, method=DEFLATE),
    ]
    streamed = [
        Entry(b"a.jpg", method=DEFLATE, descriptor=b"PK\7\x08"),
        Entry(b"b.jpg", descriptor=b""),
        Entry(b"b.jpg", descriptor=b"PK\7\x08"),
    ]
    named = [
        Entry("ä.jpg".encode(), flags=UTF8),
        Entry(b"\x84.jpg", local_extra=b"\xfe\xca\4\0abcd"),
        Entry(b"u.jpg", extra=unicode_path, local_extra=unicode_path),
        Entry(b"z.jpg\0.txt"),
        Entry(b"../up\\back.jpg"),
    ]
    zip64 = [Entry(b"a.jpg", zip64=True), Entry(b"b.jpg", method=DEFLATE, zip64=True), Entry(b"c.jpg")]
    inner = build([Entry(b"inner.jpg")])
    return [
        build(plain),
        build(streamed),
        build(named, comment=b"PK\5\6 a comment " * 3),
        build(zip64, zip64=True),
        build(zip64, stub=b"#!/bin/sh\n", zip64=True, trailing=bytes(30)),
        build([Entry(b"a.jpg"), Entry(b"inner.zip", inner), Entry(b"b.jpg")]),
        build([Entry(b"inner.zip", inner), encrypted(Entry(b"secret.jpg"))]),
        build(plain[:3], stub=bytes(50)),
        build(quoted_overlap([b"0.jpg", b"1.jpg", b"2.jpg"])),
        build([]),
        build([Entry(b"a.jpg")]) + build([Entry(b"b.jpg")]),
    ]


@functools.cache
def image_seeds() -> list[bytes]:
    """Small images of every format that is decoded."""
    small = images.bus().resize((60, 80))
    saved = images.saved
    seeds = [saved(small, kind) for kind in ("jpeg", "png", "webp", "gif", "tiff", "bmp", "avif", "jpeg2000", "ppm")]
    return [
        *seeds,
        saved(small, "jpeg", progressive=True),
        saved(small, "jpeg", exif=images.exif(6)),
        saved(small.convert("CMYK"), "jpeg"),
        saved(small.convert("P"), "png"),
        saved(small.convert("RGBA"), "png", exif=images.exif(6)),
        saved(small.convert("RGBA"), "webp", lossless=True),
        saved(small, "webp", save_all=True, append_images=[small.rotate(90)]),
        saved(small, "gif", save_all=True, append_images=[small.rotate(90)]),
        saved(small, "png", save_all=True, append_images=[small.rotate(90)]),
        saved(small, "tiff", compression="tiff_lzw"),
        saved(small, "tiff", compression="jpeg"),
        saved(small, "tiff", compression="tiff_adobe_deflate", exif=images.exif(6)),
        saved(small.convert("1"), "tiff", compression="group4"),
        saved(small.convert("RGBA"), "avif"),
        saved(small.convert("LA"), "jpeg2000"),
        saved(small, "jpeg2000", no_jp2=True, irreversible=True),
        saved(small.convert("P"), "bmp"),
        images.heic(_small_bus),
        images.heic(_small_bus, tile_size=64),
        images.heic(_small_bus_with_alpha),
        b"P3 2 2 255 1 2 3 4 5 6 7 8 9 10 11 12\n",
        b"P1 2 2 1 0 0 1\n",
        *(cv2.imencode(suffix, np.asarray(small))[1].tobytes() for suffix in (".ras", ".pfm", ".hdr", ".pam")),
        *(cv2.imencode(suffix, np.asarray(small).astype("u2") * 257)[1].tobytes() for suffix in (".png", ".tiff")),
        saved(small.convert("L"), "ppm"),
        _bmp_of_run_lengths(),
        images.arithmetic_jpeg(),
    ]


def _bmp_of_run_lengths() -> bytes:
    """A run-length encoded BMP, put together here since no library in use writes them."""
    palette = bytes(range(256)) * 4
    pixels = b"".join(bytes([8, row, 0, 0]) for row in range(7)) + b"\0\x04abcd\4\1\0\0\0\2\1\0\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    offset = 14 + len(header) + len(palette)
    return struct.pack("<2sIII", b"BM", offset + len(pixels), 0, offset) + header + palette + pixels


def _small_bus() -> Any:
    return images.bus().resize((90, 120))


def _small_bus_with_alpha() -> Any:
    return _small_bus().convert("RGBA")
