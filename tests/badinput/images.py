"""The corpus of images, made in code. A case's name is its expected outcome, and the kind of image."""

from __future__ import annotations

import functools
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pillow_heif
from PIL import Image

from helpers.photos import encoded, photo

DAMAGED = "cannot be decoded: damaged, cut off or of an unsupported kind"
CUT_OFF = "cannot be decoded: cut off"
TOO_MANY_PIXELS = "cannot be decoded: it declares more pixels than limits.megapixels allows"
MEMBER_MB = 5
"""`limits.member_mb` of the run that has the corpus."""
SIZE = (405, 540)
"""Width and height of the photo of the bus that most cases are made of, upright."""


@dataclass(frozen=True)
class Case:
    """A member of an archive."""

    member: str
    data: Callable[[], bytes]
    upright: bool
    """Whether it is the photo of the bus, and its persons must be found where they are in it."""


CASES: dict[str, Case] = {}
"""By the expected outcome: status and reason, and in brackets what it is. The status `decoded` stands for one that
depends on damage that no decoder can see."""


def case(outcome: str, what: str, member: str, data: bytes | Callable[[], bytes], upright: bool | None = None) -> None:
    name = f"{outcome} [{what}]"
    assert name not in CASES
    made = data if callable(data) else functools.partial(bytes, data)
    CASES[name] = Case(member, made, outcome == "person: " if upright is None else upright)


@functools.cache
def bus() -> Image.Image:
    return Image.fromarray(cv2.resize(photo("bus"), SIZE, interpolation=cv2.INTER_AREA)[:, :, ::-1])


@functools.cache
def bus_file(file_format: str, mode: str = "RGB", **options: Any) -> bytes:
    return saved(bus().convert(mode), file_format, **options)


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def plain(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (180, 140, 90))


@functools.cache
def heic(image: Callable[[], Image.Image] = bus, **options: Any) -> bytes:
    """As HEIC; with `tile_size` as a grid of tiles, which is how iPhones write it."""
    file = io.BytesIO()
    pillow_heif.from_pillow(image()).save(file, **options)
    return file.getvalue()


def deep_heic(to_12_bit: bool = False) -> bytes:
    pillow_heif.options.SAVE_HDR_TO_12_BIT = to_12_bit
    file = io.BytesIO()
    pixels = np.asarray(bus()).astype(np.uint16) * 257
    pillow_heif.encode("RGB;16", SIZE, pixels.tobytes(), file)
    pillow_heif.options.SAVE_HDR_TO_12_BIT = False
    return file.getvalue()


def heic_of_two() -> bytes:
    file = io.BytesIO()
    heif = pillow_heif.from_pillow(plain(320, 240))
    heif.add_from_pillow(bus())
    heif.save(file, primary_index=1)
    return file.getvalue()


def stored(orientation: int) -> Image.Image:
    """The bus as a camera stores it that notes `orientation`."""
    transposition = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return bus().transpose(transposition[orientation]) if orientation in transposition else bus().copy()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def turned(file_format: str, orientation: int) -> bytes:
    return saved(stored(orientation), file_format, exif=exif(orientation))


def turned_heic(orientation: int, **options: Any) -> bytes:
    """With the container's own rotation, and the same in its EXIF."""
    file = io.BytesIO()
    pillow_heif.from_pillow(stored(orientation)).save(file, exif=exif(orientation), **options)
    assert orientation == 1 or b"irot" in file.getvalue() or b"imir" in file.getvalue()
    return file.getvalue()


def heic_with_exif_alone(orientation: int) -> bytes:
    """Upright pixels, and an EXIF orientation that the container knows nothing of."""
    file = io.BytesIO()
    pillow_heif.from_pillow(bus()).save(file, exif=exif(1))
    tag = exif(1)[-16:-8]
    assert b"irot" not in file.getvalue()
    assert file.getvalue().count(tag) == 1
    return file.getvalue().replace(tag + b"\0\1", tag + bytes([0, orientation]))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(kind: bytes, body: bytes) -> bytes:
    """The bus as PNG with another chunk after its header."""
    data = bus_file("png")
    return data[:33] + chunk(kind, body) + data[33:]


def png_with_long_chunk() -> bytes:
    """The bus as PNG whose pixels are said to be 4 GB."""
    data = bytearray(bus_file("png"))
    at = data.index(b"IDAT")
    data[at - 4 : at] = struct.pack(">I", 0xF0000000)
    return bytes(data)


def apng_that_crashes_opencv() -> bytes:
    """Its first picture is not one of the animation's frames, and a frame is damaged: OpenCV 5.0 then jumps to where
    libpng's errors were caught before (seen to end in SIGSEGV)."""
    width, height = 60, 80
    rows = 1 + 3 * width
    frame = struct.pack(">5I2H2B", 0, width, height, 0, 0, 0, 1, 0, 0)
    damaged = zlib.compress(b"\x09" * rows * height)  # there is no such filter
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)),
            chunk(b"acTL", struct.pack(">2I", 2, 0)),
            chunk(b"IDAT", zlib.compress(bytes(rows * height))),
            chunk(b"fcTL", frame),
            chunk(b"fdAT", struct.pack(">I", 1) + damaged),
            chunk(b"IEND", b""),
        )
    )


def png_header(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@functools.cache
def deflated_zeros() -> bytes:
    return zlib.compress(bytes(60_000_000), 9)


def jpeg_with_size(width: int, height: int) -> bytes:
    data = bytearray(bus_file("jpeg"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def boxes_with_size(data: bytes, width: int, height: int) -> bytes:
    """HEIF or AVIF whose every header declares another size."""
    patched = bytearray(data)
    at = -1
    while (at := patched.find(b"ispe", at + 1)) >= 0:
        patched[at + 8 : at + 16] = struct.pack(">II", width, height)
    return bytes(patched)


def heic_with_crop() -> bytes:
    """The bus, whose width is odd, in a picture of 20,000 pixels a side; the header cuts it out."""
    data = boxes_with_size(heic(), 20_000, 20_000)
    assert b"clap" in data
    return data


def heic_with_large_tiles() -> bytes:
    """A small picture whose tiles declare 268 megapixels each."""
    data = bytearray(heic(tile_size=128))
    at = -1
    while (at := data.find(b"ispe" + bytes(4) + struct.pack(">II", 128, 128), at + 1)) >= 0:
        data[at + 8 : at + 16] = struct.pack(">II", 16384, 16384)
    return bytes(data)


def tiff_with_size(width: int, height: int) -> bytes:
    image = plain(64, 48)
    data = bytearray(saved(image, "tiff"))
    for tag, value, new in ((256, 64, width), (257, 48, height)):
        entry = struct.pack("<HHI", tag, 4, 1) + struct.pack("<I", value)
        if entry not in data:
            entry = struct.pack("<HHI", tag, 3, 1) + struct.pack("<I", value)
        at = data.index(entry)
        data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, new)
    return bytes(data)


def tiled_tiff(side: int, tile: int, big: bool = False) -> bytes:
    """One black tile, whose upper left corner is the picture; cut off if it is large. As BigTIFF if `big`."""
    pixels = zlib.compress(bytes(min(3 * tile * tile, 1_000_000)))
    tags = {256: side, 257: side, 258: 8, 259: 8, 262: 2, 277: 3, 322: tile, 323: tile, 324: 0, 325: len(pixels)}
    pointer, begin = (
        ("Q", struct.pack("<2s3HQ", b"II", 43, 8, 0, 16)) if big else ("I", struct.pack("<2sHI", b"II", 42, 8))
    )
    entry, count = f"<HH{pointer}{pointer}", struct.pack("<Q" if big else "<H", len(tags))
    end = struct.pack(f"<{pointer}", 0)
    tags[324] = len(begin + count + end) + len(tags) * struct.calcsize(entry)
    entries = b"".join(struct.pack(entry, tag, 3 if tag == 258 else 4, 1, value) for tag, value in tags.items())
    return begin + count + entries + end + pixels


def jp2_with_size(width: int, height: int, box_too: bool) -> bytes:
    """The size is in the codestream, and in a box before it, which Pillow reads."""
    data = bytearray(saved(plain(64, 48), "jpeg2000"))
    at = data.index(b"\xff\x51")
    data[at + 6 : at + 14] = struct.pack(">II", width, height)
    if box_too:
        at = data.index(b"ihdr")
        data[at + 4 : at + 12] = struct.pack(">II", height, width)
    return bytes(data)


def radiance_header(width: int, height: int) -> bytes:
    return f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n".encode() + bytes(1000)


def ycck() -> bytes:
    """Adobe's JPEG of four inks, luma and chroma apart: of the negative, without black."""
    negative = Image.fromarray(255 - np.asarray(bus())).convert("YCbCr")
    # Pillow inverts what it writes, and says that luma and chroma are together.
    inverted = [Image.fromarray(255 - np.asarray(band)) for band in negative.split()]
    data = bytearray(saved(Image.merge("CMYK", (*inverted, Image.new("L", SIZE, 0))), "jpeg", quality=90))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def jpeg_segments(data: bytes) -> list[tuple[int, bytes]]:
    """The marker segments up to the first scan: kind, and the whole segment."""
    segments, at = [], 2
    while data[at + 1] != 0xDA:
        length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append((data[at + 1], data[at : at + length]))
        at += length
    return segments


def arithmetic_jpeg() -> bytes:
    """By hand, since no library here writes it: its entropy-coded data are empty, as an encoder may leave them whose
    last bytes are zeros (ITU T.81, D.1.8), so it is all of one grey."""
    grey = saved(Image.new("L", (320, 240), 99), "jpeg")
    kept = b"".join(segment for kind, segment in jpeg_segments(grey) if kind in (0xE0, 0xDB, 0xC0))
    scan = grey[grey.index(b"\xff\xda") :][:10]
    return b"\xff\xd8" + kept.replace(b"\xff\xc0", b"\xff\xc9") + scan + b"\xff\xd9"


def many_scans() -> bytes:
    """A progressive JPEG whose last scan is there thousands of times."""
    data = saved(bus().resize((64, 64)), "jpeg", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 3000 + b"\xff\xd9"


def segment(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body


def jpeg_of_empty_scans(side: int, scans: int) -> bytes:
    """A grey progressive JPEG each of whose scans refines all of its coefficients, and finds in a few bytes that there
    is nothing to refine."""
    table = segment(0xC4, b"\x10" + bytes([0] * 7 + [1] + [0] * 8) + b"\xe0")  # one code, for a run of empty blocks
    blocks = (-(-side // 8)) ** 2
    run = "00000000" + 14 * "1"  # of 32,767 blocks
    bits = run * -(-blocks // 32767)
    bits += "1" * (-len(bits) % 8)
    runs = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    begin = b"\xff\xd8" + segment(0xDB, b"\0" + bytes([1] * 64)) + segment(0xC4, b"\0\1" + bytes(16)) + table
    begin += segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
    scan = segment(0xDA, b"\1\1\0\0\0\1") + segment(0xDA, b"\1\1\0\1\x3f\1") + runs
    return begin + scan + (segment(0xDA, b"\1\1\0\1\x3f\x10") + runs) * (scans - 2) + b"\xff\xd9"


def tiff_of_tall_tiles() -> bytes:
    """A TIFF of one row, whose 64 tiles share their bytes, and are of 16 megapixels each."""
    width, height, count = 16, 1_000_000, 64
    pixels = zlib.compress(bytes(3 * width * height), 9)
    begin = 8 + 2 + 12 * 10 + 4
    tags = {256: width * count, 257: 1, 258: 8, 259: 8, 262: 2, 277: 3, 322: width, 323: height}
    entries = [struct.pack("<HHII", tag, 3 if tag == 258 else 4, 1, value) for tag, value in tags.items()]
    entries += [struct.pack("<HHII", tag, 4, count, begin + 4 * count * (tag - 324)) for tag in (324, 325)]
    offsets = struct.pack("<I", begin + 8 * count) * count
    sizes = struct.pack("<I", len(pixels)) * count
    return struct.pack("<2sHIH", b"II", 42, 8, 10) + b"".join(entries) + bytes(4) + offsets + sizes + pixels


def heic_of_repeated_tiles(side: int, tile: int, columns: int) -> bytes:
    """A HEIC whose grid has `columns` squared tiles, the same few over and over; those too many lie outside of the
    picture. The box that says so is moved to the end, so that all others stay where they are."""
    data = heic(functools.partial(plain, side, side), tile_size=tile)
    at = data.index(b"meta") - 4
    end = at + int.from_bytes(data[at : at + 4], "big")
    meta = bytearray(data[at:end])
    offset = meta.index(b"idat") + 4
    meta[offset + 2 : offset + 4] = bytes([columns - 1, columns - 1])
    offset = meta.index(b"dimg")
    source, count = struct.unpack_from(">HH", meta, offset + 4)
    items = struct.unpack_from(f">{count}H", meta, offset + 8)
    repeated = [items[number % count] for number in range(columns**2)]
    meta[offset + 4 : offset + 8 + 2 * count] = struct.pack(f">HH{len(repeated)}H", source, len(repeated), *repeated)
    grown = 2 * (len(repeated) - count)
    for start in (0, meta.index(b"iref") - 4, offset - 4):
        meta[start : start + 4] = struct.pack(">I", int.from_bytes(meta[start : start + 4], "big") + grown)
    return data[:at] + struct.pack(">I4s", end - at, b"free") + bytes(end - at - 8) + data[end:] + bytes(meta)


def png_of_texts(count: int) -> bytes:
    """The bus as PNG with texts of 8 MB each, compressed."""
    data = bus_file("png")
    return data[:33] + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(7_900_000), 9)) * count + data[33:]


def dng() -> bytes:
    """A TIFF file with a preview and the tag that makes it a DNG."""
    return saved(bus(), "tiff", tiffinfo=_dng_version())


def _dng_version() -> Any:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    tags = ImageFileDirectory_v2()
    tags.tagtype[50706] = 1
    tags[50706] = b"\1\4\0\0"
    return tags


def float_tiff(*holes: float) -> bytes:
    pixels = np.asarray(bus()).astype(np.float32)[:, :, ::-1] / 255
    for row, value in enumerate(holes):
        pixels[100 * row : 100 * row + 50] = value
    return cv2.imencode(".tiff", pixels)[1].tobytes()


def sixteen_bits(suffix: str) -> bytes:
    return cv2.imencode(suffix, np.asarray(bus())[:, :, ::-1].astype(np.uint16) * 257)[1].tobytes()


def flipped(data: bytes, seed: int = 0) -> bytes:
    """A few bits of the pixels are wrong, as on a bad disk."""
    draw = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(4):
        damaged[draw.randrange(len(data) // 2, len(data) - 100)] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def first(data: bytes, share: float) -> bytes:
    return data[: int(share * len(data))]


def blank_from(data: bytes, share: float) -> bytes:
    """As a download that stopped leaves a file whose space was taken beforehand."""
    kept = first(data, share)
    return kept + bytes(len(data) - len(kept))


def zip_file() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("photo.jpg", b"x")
    return file.getvalue()


def with_exif(body: bytes) -> bytes:
    data = bus_file("jpeg")
    body = b"Exif\0\0" + body
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def later_frames(file_format: str) -> bytes:
    """An animation, or a document of several pages, that begins with the bus."""
    return saved(bus(), file_format, save_all=True, append_images=[plain(*SIZE), bus().rotate(180)])


# -- Decoded --------------------------------------------------------------------------------------------------------
for suffix, file_format in {
    "jpg": "jpeg",
    "png": "png",
    "webp": "webp",
    "bmp": "bmp",
    "gif": "gif",
    "tif": "tiff",
    "jp2": "jpeg2000",
    "avif": "avif",
    "ppm": "ppm",
}.items():
    case("person: ", file_format, f"a.{suffix}", functools.partial(bus_file, file_format))
    for width, height in ((1, 1), (1, 5000), (5000, 1)):
        made = functools.partial(lambda size, kind: saved(plain(*size), kind), (width, height), file_format)
        case("no_person: ", f"{file_format} of {width}x{height}", f"a.{suffix}", made)
for file_format in ("jpeg", "png", "webp", "tiff"):
    for orientation in range(1, 9):
        made = functools.partial(turned, file_format, orientation)
        case("person: ", f"{file_format}, EXIF orientation {orientation}", f"a.{file_format}", made)
for file_format in ("tiff", "gif", "webp", "png", "avif"):
    made = functools.partial(later_frames, file_format)
    case("person: ", f"{file_format} of several frames", f"a.{file_format}", made)

case("person: ", "16-bit PNG", "a.png", functools.partial(sixteen_bits, ".png"))
case("person: ", "16-bit TIFF", "a.tiff", functools.partial(sixteen_bits, ".tiff"))
case("person: ", "CMYK JPEG", "a.jpg", functools.partial(bus_file, "jpeg", "CMYK"))
case("person: ", "YCCK JPEG", "a.jpg", ycck)
case("person: ", "CMYK TIFF", "a.tif", functools.partial(bus_file, "tiff", "CMYK"))
case("person: ", "grey JPEG", "a.jpg", functools.partial(bus_file, "jpeg", "L"))
for mode in ("L", "LA", "P", "RGBA"):
    case("person: ", f"PNG of mode {mode}", "a.png", functools.partial(bus_file, "png", mode))
case("person: ", "progressive JPEG", "a.jpg", functools.partial(bus_file, "jpeg", progressive=True))
case("person: ", "lossless WebP with alpha", "a.webp", functools.partial(bus_file, "webp", "RGBA", lossless=True))
case("person: ", "JPEG 2000 codestream", "a.j2k", functools.partial(bus_file, "jpeg2000", no_jp2=True))
case("person: ", "JPEG 2000 of mode LA", "a.jp2", functools.partial(bus_file, "jpeg2000", "LA"))
case("person: ", "AVIF with alpha", "a.avif", functools.partial(bus_file, "avif", "RGBA"))
case("no_person: ", "arithmetic-coded JPEG", "a.jpg", arithmetic_jpeg)
case("no_person: ", "webp", "a.webp", encoded("empty", ".webp"))

case("person: ", "HEIC", "a.heic", heic)
case("person: ", "HEIF", "a.heif", heic)
case("person: ", "HEIC of tiles", "a.HEIC", functools.partial(heic, tile_size=128))
case("person: ", "HEIC of tiles, turned", "a.heic", lambda: turned_heic(6, tile_size=128))
for orientation in range(1, 9):
    made = functools.partial(turned_heic, orientation)
    case("person: ", f"HEIC, orientation {orientation}", "a.heic", made)
case("person: ", "HEIC, orientation in EXIF alone, which does not count", "a.heic", lambda: heic_with_exif_alone(6))
case("person: ", "HEIC, 10-bit", "a.heic", deep_heic)
case("person: ", "HEIC, 12-bit", "a.heic", lambda: deep_heic(True))
case("person: ", "HEIC with alpha", "a.heic", lambda: heic(lambda: bus().convert("RGBA")))
case("person: ", "HEIC, grey", "a.heic", lambda: heic(lambda: bus().convert("L")))
case("person: ", "HEIC of two images, the second primary", "a.heic", heic_of_two)
case("person: ", "HEIC called .jpg", "a.jpg", heic)
case("person: ", "AVIF called .heic", "a.heic", lambda: bus_file("avif"))

case("person: ", "PNG called .jpg", "a.jpg", lambda: bus_file("png"))
case("person: ", "JPEG called .png", "a.png", lambda: bus_file("jpeg"))
for what in ("jpeg", "png", "webp", "avif"):
    case("person: ", f"{what} without suffix", "photo", functools.partial(bus_file, what))
case("person: ", "HEIC without suffix", "IMG_0001", heic)
case("person: ", "JPEG with trailing data", "a.jpg", lambda: bus_file("jpeg") + b"\xff\xd8trailing" * 1000)
case("person: ", "JPEG with a ZIP archive behind it", "a.jpg", lambda: bus_file("jpeg") + zip_file())
case("person: ", "PNG with trailing data", "a.png", lambda: bus_file("png") + bytes(10_000))
case("person: ", "HEIC with trailing data", "a.heic", lambda: heic() + b"trailing" * 1000)
case("person: ", "EXIF that is garbage", "a.jpg", lambda: with_exif(b"\xa5" * 200))
case("person: ", "EXIF orientation 99", "a.jpg", lambda: bus_file("jpeg", exif=exif(99)))
case("person: ", "EXIF whose directory is past its end", "a.jpg", lambda: with_exif(b"II*\0\xff\xff\xff\x7f"))
case("person: ", "EXIF that is its own next directory", "a.jpg", lambda: with_exif(b"II*\0\x08\0\0\0\0\0\x08\0\0\0"))
case("person: ", "EXIF cut off", "a.jpg", lambda: with_exif(exif(1)[6:20]))
case("person: ", "PNG with a text of 60 MB", "a.png", lambda: png_with(b"zTXt", b"Comment\0\0" + deflated_zeros()))
itxt = b"Comment\0\1\0\0\0"
case("person: ", "PNG with an iTXt of 60 MB", "a.png", lambda: png_with(b"iTXt", itxt + deflated_zeros()))
case("person: ", "PNG with a profile of 60 MB", "a.png", lambda: png_with(b"iCCP", b"icc\0\0" + deflated_zeros()))

# -- Refused --------------------------------------------------------------------------------------------------------
case("failed: the file is empty", "JPEG", "a.jpg", b"")
case("failed: the file is empty", "HEIC", "a.heic", b"")
case("failed: cannot be decoded: not a known format", "random bytes", "a.jpg", random.Random(0).randbytes(5000))
case("failed: cannot be decoded: not a known format", "one byte", "a.jpg", b"\xff")
case("failed: cannot be decoded: not a known format", "zeros, 1000:1", "a.jpg", lambda: bytes(4_900_000))
case("failed: 5000001 bytes are more than limits.member_mb (5)", "zeros", "a.jpg", lambda: bytes(5_000_001))
case(
    "failed: 3000000000 bytes are more than limits.member_mb (5)",
    "a directory that says so",
    "huge.jpg",
    lambda: bus_file("jpeg"),
)

for name, what in {"svg": "SVG", "psd": "a Photoshop document (PSD)", "jxl": "JPEG XL", "exr": "OpenEXR"}.items():
    content = {
        "svg": b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"></svg>',
        "psd": b"8BPS\0\1" + bytes(500),
        "jxl": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(500),
        "exr": b"\x76\x2f\x31\x01" + bytes(500),
    }[name]
    for suffix in (name, "jpg"):
        case(f"failed: {what} is not supported; export it as JPEG", f"called .{suffix}", f"a.{suffix}", content)
case("failed: JPEG XL is not supported; export it as JPEG", "codestream", "a.jxl", b"\xff\x0a" + bytes(100))
case("failed: TGA is not supported; export it as JPEG", "TGA", "a.tga", lambda: bus_file("tga"))
case("failed: is a PDF document, not a photo", "called .jpg", "a.jpg", b"%PDF-1.7\n" + bytes(500))
case("failed: is a ZIP archive, not a photo", "called .jpg", "a.jpg", zip_file)
PAGE = "is a web page, not a photo; its download may have failed"
case(f"failed: {PAGE}", "called .jpg", "a.jpg", b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>")
case(f"failed: {PAGE}", "without declaration", "a.png", b"\n <html>not a photo</html>")
TEXT = "is text, not a photo; its download may have failed"
case(f"failed: {TEXT}", "JSON called .jpg", "a.jpg", b'{"error": "rate limit exceeded"}')
case(f"failed: {TEXT}", "text called .heic", "a.heic", "Zugriff verweigert – später nochmals\n".encode() * 40)
for brand in ("isom", "mp42", "qt  ", "M4V "):
    video = b"\0\0\0\x14ftyp" + brand.encode() + bytes(8) + b"\0\0\1\0mdat" + bytes(248)
    case("failed: is a video, not a photo", f"brand {brand} called .jpg", "a.jpg", video)
case("failed: is a video, not a photo", "old QuickTime called .jpg", "a.jpg", b"\0\0\1\0mdat" + bytes(248))
case("failed: is a video, not a photo", "AVI called .jpg", "a.jpg", b"RIFF\0\1\0\0AVI LIST" + bytes(248))

RAW = "failed: camera RAW is not supported; export it as JPEG"
for suffix in ("dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "raf", "srw", "pef"):
    case(RAW, f"{suffix}, a TIFF with a preview", f"a.{suffix.upper()}", dng)
case(RAW, "DNG called .tif", "a.tif", dng)
case(RAW, "CR2 called .jpg", "a.jpg", b"II*\0\x10\0\0\0CR\2\0" + bytes(500))
case(RAW, "CR3 called .jpg", "a.jpg", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(500))
case(RAW, "RAF called .jpg", "a.jpg", b"FUJIFILMCCD-RAW 0201" + bytes(500))

DEPTH = "failed: cannot be decoded: a TIFF of more than 16 bits per channel is not supported"
case(DEPTH, "float", "a.tif", float_tiff)
case(DEPTH, "float with NaN and infinity", "a.tif", lambda: float_tiff(np.nan, np.inf, -np.inf))
case(
    f"failed: {DAMAGED}", "lossless JPEG header", "a.jpg", lambda: bus_file("jpeg").replace(b"\xff\xc0", b"\xff\xc3", 1)
)
case("failed: cannot be decoded: a JPEG of 3010 scans is refused as a bomb", "progressive", "a.jpg", many_scans)
SCANS = "failed: cannot be decoded: a JPEG of 10000x10000 pixels in {} scans is refused as a bomb"
for scans in (26, 490):
    made = functools.partial(jpeg_of_empty_scans, 10_000, scans)
    case(SCANS.format(scans), f"{scans} empty ones", "a.jpg", made)
case("no_person: ", "400 empty scans of few pixels", "a.jpg", functools.partial(jpeg_of_empty_scans, 1_000, 400))
TEXTS = "failed: cannot be decoded: a PNG of 101 compressed texts is refused as a bomb"
case(TEXTS, "PNG", "a.png", functools.partial(png_of_texts, 101))
case("person: ", "PNG of some compressed texts", "a.png", functools.partial(png_of_texts, 5))

for side in (20_000, 40_000):
    pixels = f"failed: {side}x{side} pixels are more than limits.megapixels (100)"
    case(pixels, "PNG", "a.png", functools.partial(png_header, side, side))
    case(pixels, "JPEG", "a.jpg", functools.partial(jpeg_with_size, side, side))
    case(pixels, "TIFF", "a.tif", functools.partial(tiff_with_size, side, side))
    case(pixels, "JPEG 2000", "a.jp2", functools.partial(jp2_with_size, side, side, True))
    case(pixels, "PPM", "a.ppm", f"P6\n{side} {side}\n255\n".encode() + bytes(500))
    case(f"failed: {TOO_MANY_PIXELS}", f"Radiance of {side}", "a.hdr", functools.partial(radiance_header, side, side))
    made = functools.partial(jp2_with_size, side, side, False)
    case(f"failed: {DAMAGED}", f"JPEG 2000 of {side} that first says 64", "a.jp2", made)
BEYOND = "failed: cannot be decoded: it declares more than it can hold"
for side in (20_000, 40_000, 9_000, 50):
    reason = f"{side}x{side} pixels are more than limits.megapixels (100)" if side > 10_000 else DAMAGED
    made = functools.partial(lambda size: boxes_with_size(heic(lambda: plain(64, 64)), size, size), side)
    case(f"failed: {reason}", f"HEIC of 64 pixels a side that says {side}", "a.heic", made)
case(BEYOND, "HEIC that is cut out of a huge one", "a.heic", heic_with_crop)
case(BEYOND, "HEIC of huge tiles", "a.heic", heic_with_large_tiles)
case(BEYOND, "TIFF of huge tiles", "a.tif", functools.partial(tiled_tiff, 64, 16_000))
case(BEYOND, "BigTIFF of huge tiles", "a.tif", functools.partial(tiled_tiff, 64, 16_000, True))
case(BEYOND, "TIFF of huge tiles together", "a.tif", tiff_of_tall_tiles)
case(BEYOND, "HEIC of tiles repeated", "a.heic", functools.partial(heic_of_repeated_tiles, 1000, 500, 20))
case("no_person: ", "HEIC of some tiles repeated", "a.heic", functools.partial(heic_of_repeated_tiles, 1000, 500, 3))
case("no_person: ", "TIFF of tiles", "a.tif", functools.partial(tiled_tiff, 300, 512))
case("no_person: ", "BigTIFF of tiles", "a.tif", functools.partial(tiled_tiff, 300, 512, True))
case(f"failed: {DAMAGED}", "AVIF of 20000", "a.avif", lambda: boxes_with_size(bus_file("avif"), 20_000, 20_000))

# -- Not whole, or damaged ---------------------------------------------------------------------------------------------
for what, data in {
    "jpeg": functools.partial(bus_file, "jpeg"),
    "progressive jpeg": functools.partial(bus_file, "jpeg", progressive=True),
    "png": functools.partial(bus_file, "png"),
    "webp": functools.partial(bus_file, "webp"),
    "lossless webp": functools.partial(bus_file, "webp", lossless=True),
    "gif": functools.partial(bus_file, "gif"),
    "tiff": functools.partial(bus_file, "tiff"),
    "jp2": functools.partial(bus_file, "jpeg2000"),
    "avif": functools.partial(bus_file, "avif"),
    "heic": heic,
}.items():
    suffix = what.split()[-1]
    for share in (0.999, 0.98, 0.5):
        made = functools.partial(lambda whole, part: first(whole(), part), data, share)
        reason = CUT_OFF if what == "heic" else DAMAGED
        case(f"failed: {reason}", f"{what}, its first {100 * share:g} %", f"a.{suffix}", made)
    made = functools.partial(lambda whole: whole()[:200], data)
    case(f"failed: {DAMAGED}", f"{what}, its header", f"a.{suffix}", made)
for share in (0.999, 0.98, 0.5):
    made = functools.partial(lambda part: first(heic(tile_size=128), part), share)
    case(f"failed: {CUT_OFF}", f"heic of tiles, its first {100 * share:g} %", "a.heic", made)
    made = functools.partial(lambda part: first(bus_file("jpeg"), part) + b"\xff\xd9", share)
    case(f"failed: {CUT_OFF}", f"jpeg, its first {100 * share:g} % and an end", "a.jpg", made)
    made = functools.partial(lambda part: first(turned("jpeg", 6), part) + b"\xff\xd9", share)
    case(f"failed: {CUT_OFF}", f"jpeg on its side, its first {100 * share:g} % and an end", "a.jpg", made)
    made = functools.partial(lambda part: blank_from(bus_file("jpeg"), part), share)
    case(f"failed: {DAMAGED}", f"jpeg, blank from {100 * share:g} % on", "a.jpg", made)
case(f"failed: {CUT_OFF}", "jpeg, blank behind", "a.jpg", lambda: first(bus_file("jpeg"), 0.5) + bytes(100_000))
BLANK = "failed: cannot be decoded: damaged or cut off: a part of it is blank"
case(BLANK, "heic", "a.heic", lambda: blank_from(heic(), 0.5))
case(BLANK, "heic of tiles", "a.heic", lambda: blank_from(heic(tile_size=128), 0.9))
case(f"failed: {DAMAGED}", "avif, blank from 50 % on", "a.avif", lambda: blank_from(bus_file("avif"), 0.5))
case(f"failed: {DAMAGED}", "gif, blank from 50 % on", "a.gif", lambda: blank_from(bus_file("gif"), 0.5))
case(f"failed: {DAMAGED}", "png, a chunk that says 4 GB", "a.png", png_with_long_chunk)
case(f"failed: {DAMAGED}", "png, bits flipped", "a.png", lambda: flipped(bus_file("png")))
case(f"failed: {DAMAGED}", "avif, bits flipped", "a.avif", lambda: flipped(bus_file("avif")))
for what, data in {
    "jpeg": functools.partial(bus_file, "jpeg"),
    "webp": functools.partial(bus_file, "webp"),
    "gif": functools.partial(bus_file, "gif"),
    "jp2": functools.partial(bus_file, "jpeg2000"),
    "heic": heic,
    "heic of tiles": functools.partial(heic, tile_size=128),
}.items():
    for seed in range(4):
        made = functools.partial(lambda whole, number: flipped(whole(), number), data, seed)
        case("decoded: ", f"{what}, bits flipped, {seed}", f"a.{what.split()[0]}", made)

# -- Passed over ------------------------------------------------------------------------------------------------------
case("skipped: folder", "folder", "dir/", b"")
case("skipped: not an image", "text", "notes.txt", b"text")
case("skipped: not an image", "video", "film.mp4", b"\0\0\0\x14ftypisom" + bytes(100))
case("skipped: not an image", "by content", ".DS_Store", b"\0\0\0\1Bud1")
case("skipped: not an image", "PDF without suffix", "document", b"%PDF-1.7")
case("skipped: macOS metadata", "by folder", "__MACOSX/._a.jpg", b"\0\5\x16\7")
case("skipped: macOS metadata", "by content", "._a.jpg", b"\0\5\x16\7" + bytes(100))


def bombs() -> list[tuple[str, bytes]]:
    """Suffixes and contents of members that take as much memory as they can within the limits, or would beyond them."""
    largest = plain(10_000, 9_900)
    return [
        (".png", saved(largest, "png", compress_level=1)),
        (".jpg", saved(largest, "jpeg", quality=30)),
        (".jpg", saved(largest, "jpeg", quality=30, progressive=True)),
        (".gif", saved(plain(9_000, 9_000).convert("P"), "gif")),
        (".webp", saved(largest, "webp", method=0)),
        (".jpg", bytes(250_000_000)),
        (".bmp", saved(plain(9_000, 9_000), "bmp")),
        (".png", png_header(20_000, 20_000)),
        (".png", png_header(10_000, 9_900)),
        (".jpg", jpeg_with_size(10_000, 9_900)),
        (".tif", tiff_with_size(10_000, 9_900)),
        (".jp2", jp2_with_size(10_000, 9_900, True)),
        (".hdr", radiance_header(10_000, 9_900)),
        (".heic", boxes_with_size(heic(lambda: plain(64, 64)), 9_000, 9_000)),
        (".heic", heic_with_large_tiles()),
        (".jpg", many_scans()),
        (".png", png_with(b"zTXt", b"Comment\0\0" + deflated_zeros())),
        (".png", png_with(b"iCCP", b"icc\0\0" + deflated_zeros())),
        (".png", png_with_long_chunk()),
        (".tif", tiled_tiff(64, 16_000)),
    ]


@functools.cache
def bombs_by_header() -> dict[str, bytes]:
    """Small files that declare, in one way or another, far more than they hold."""
    return {
        "PNG, size": png_header(20_000, 20_000),
        "PNG, chunk": png_with_long_chunk(),
        "JPEG, size": jpeg_with_size(40_000, 40_000),
        "TIFF, size": tiff_with_size(20_000, 20_000),
        "TIFF, tile": tiled_tiff(64, 16_000),
        "TIFF, tiles": tiff_of_tall_tiles(),
        "BigTIFF, tile": tiled_tiff(64, 16_000, big=True),
        "JPEG 2000, size": jp2_with_size(20_000, 20_000, True),
        "JPEG 2000, size in the codestream": jp2_with_size(20_000, 20_000, False),
        "Radiance, size": radiance_header(20_000, 20_000),
        "HEIC, size": boxes_with_size(heic(lambda: plain(64, 64)), 2_000, 2_000),
        "HEIC, tiles": heic_with_large_tiles(),
        "HEIC, cut out": heic_with_crop(),
        "AVIF, size": boxes_with_size(bus_file("avif"), 2_000, 2_000),
    }
