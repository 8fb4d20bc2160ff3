"""Build the demo's sample archives from the two photos that ultralytics ships.

    python demo/make_archives.py demo/raw_zips

The archives are as untidy as real ones: names with spaces, accents and emoji, folders, members of the same name,
several formats, EXIF-rotated and damaged images, files that are no images. Nothing is random and all timestamps are
fixed, so every call writes the same bytes and a second run of the workflow finds nothing to do.
"""

import argparse
import importlib.util
import io
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageOps

# A piece of a photo: left, upper, right, lower in pixels.
Box = tuple[int, int, int, int]
# A member of an archive: its name and its content.
Member = tuple[str, bytes]

TWO_MEN: Box = (20, 360, 400, 920)
MAN_IN_BEIGE: Box = (20, 370, 240, 920)
MAN_IN_BLACK: Box = (200, 370, 370, 900)
STREET: Box = (0, 330, 700, 1080)

# Pieces of bus.jpg without a person.
FACADE: Box = (0, 0, 810, 240)
BUS_SIDE: Box = (360, 300, 650, 650)
ROOF: Box = (60, 230, 790, 390)
PAVEMENT: Box = (260, 880, 810, 1080)
DOOR: Box = (100, 20, 260, 240)
TREE: Box = (600, 100, 810, 300)

EXIF_ORIENTATION = 0x0112
# How a camera that writes this orientation has turned the pixels, as seen from the upright image.
STORED_TURN = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
TIMESTAMP = (2024, 7, 14, 12, 0, 0)


def photo(name: str) -> Image.Image:
    """Return a photo from the folder `assets` of ultralytics, which takes seconds to import and need not be."""
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("ultralytics, whose photos the demo uses, is not installed: run `make setup` first.")
    path = Path(spec.submodule_search_locations[0]) / "assets" / name
    if not path.is_file():
        raise SystemExit(f"The demo needs {path}, which this version of ultralytics does not contain.")
    with Image.open(path) as image:
        return image.convert("RGB")


def encode(image: Image.Image, image_format: str = "JPEG") -> bytes:
    """Return `image` as the content of a file; any EXIF data is left out."""
    buffer = io.BytesIO()
    # The fixed quality and single thread make the bytes repeatable.
    options = {"AVIF": {"quality": 80, "max_threads": 1}, "JPEG": {"quality": 90}, "WEBP": {"quality": 90}}
    image.save(buffer, image_format, **options.get(image_format, {}))
    return buffer.getvalue()


def encode_turned(upright: Image.Image, orientation: int) -> bytes:
    """Return a JPEG whose pixels lie turned and whose EXIF orientation (3, 6 or 8) says how to put them upright."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    buffer = io.BytesIO()
    upright.transpose(STORED_TURN[orientation]).save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue()


def scaled(image: Image.Image, long_side: int) -> Image.Image:
    """Return `image` resized so that its longer side is `long_side` pixels."""
    factor = long_side / max(image.size)
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)


def sample_archives() -> dict[str, list[Member]]:
    """Return the members of each sample archive, by the archive's path."""
    bus, zidane = photo("bus.jpg"), photo("zidane.jpg")
    street = encode(bus.crop(STREET))
    two_men = encode(bus.crop(TWO_MEN))
    return {
        "images(1).zip": [  # as from a camera
            ("DCIM/", b""),
            ("DCIM/IMG_0001.jpg", encode(bus)),
            ("DCIM/IMG_0002.jpg", encode_turned(bus, 3)),
            ("DCIM/IMG_0003.jpg", encode_turned(bus, 6)),
            ("DCIM/IMG_0004.jpg", encode_turned(bus.crop(TWO_MEN), 8)),
            ("DCIM/IMG_0005.jpg", encode(zidane)),
            ("DCIM/IMG_0006.jpg", encode(bus.crop(FACADE))),
            ("DCIM/large.jpg", encode(scaled(bus, 2400))),
            ("DCIM/thumbnails/small.jpg", encode(scaled(bus, 200))),
            ("DCIM/.DS_Store", b"\x00\x00\x00\x01Bud1"),
        ],
        "images(2).zip": [  # many formats, and names that collide
            ("a.jpg", street),
            ("a.png", encode(bus.crop(MAN_IN_BEIGE), "PNG")),
            ("A.JPG", encode(bus.crop(PAVEMENT))),
            ("a.webp", encode(ImageOps.mirror(bus), "WEBP")),
            ("b.bmp", encode(ImageOps.mirror(bus.crop(MAN_IN_BLACK)), "BMP")),
            ("b.tiff", encode(bus.crop(DOOR), "TIFF")),
            ("b.gif", encode(bus.crop(TWO_MEN), "GIF")),
            ("b.avif", encode(bus.crop(STREET), "AVIF")),
            ("same.jpg", two_men),
            ("same.jpg", encode(bus.crop(BUS_SIDE))),
            ("scan without suffix", encode(bus.crop(TREE))),
        ],
        "holiday photos [2].zip": [  # colour modes, damage, and what a Mac adds
            ("grey.jpg", encode(bus.convert("L"))),
            ("see-through.png", encode(bus.crop(TWO_MEN).convert("RGBA"), "PNG")),
            ("print (CMYK).jpg", encode(bus.convert("CMYK"))),
            ("mirrored.jpg", encode(ImageOps.mirror(zidane))),
            ("the roof.jpg", encode(bus.crop(ROOF))),
            ("half a download.jpg", street[: len(street) // 2]),
            ("empty.jpg", b""),
            ("notes.txt", b"Madrid, in July\n"),
            ("__MACOSX/._grey.jpg", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "),
        ],
        "Ünïcode & Söhne/fête d'été.ZIP": [  # names that need quoting
            ("été/plage à midi.jpg", encode(ImageOps.mirror(bus.crop(STREET)))),
            ("été/🚌 bus.jpg", two_men),  # also in images(2).zip: a duplicate
            ('été/"quoted" & more.jpg', encode(bus.crop(MAN_IN_BEIGE))),
            ("café/façade.png", encode(ImageOps.mirror(bus.crop(FACADE)), "PNG")),
        ],
    }


def write_archive(path: Path, members: Iterable[Member]) -> None:
    """Write a ZIP archive with fixed timestamps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name", UserWarning)  # on purpose here
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, TIMESTAMP), content, zipfile.ZIP_DEFLATED)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the demo's sample archives.")
    parser.add_argument("folder", type=Path, help="where to write them, e.g. demo/raw_zips")
    folder = parser.parse_args().folder
    archives = sample_archives()
    for name, members in archives.items():
        write_archive(folder / name, members)
    print(f"Built {len(archives)} archives with {sum(map(len, archives.values()))} members in {folder}")


if __name__ == "__main__":
    main()
