"""Quantisation: the f32 OpenVINO model becomes an int8 one, calibrated on the user's own photos."""

from __future__ import annotations

import dataclasses
import functools
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from zipcrop.archive.reader import Archive, ArchiveError, MemberError
from zipcrop.detect import restrict
from zipcrop.detect.letterbox import Letterbox
from zipcrop.detect.model import Model, sha256
from zipcrop.errors import ModelError, machine_faults
from zipcrop.image import codec, formats, opencv, selection
from zipcrop.image.formats import ImageError
from zipcrop.image.selection import NotAnImage
from zipcrop.process.isolation import Isolation

if TYPE_CHECKING:
    import openvino as ov

    from zipcrop.settings import Limits, Settings

PHOTOS = 300
"""Photos that calibrate a model; NNCF's own default."""
_MOST_BYTES = 1024**3
"""Bytes of the network's inputs, which are all in memory: with large letterboxes there are fewer."""
_SEED = 0
Decode: TypeAlias = Callable[[str, bytes], np.ndarray | None]
"""Of a file's name and content."""
_MOST_ARCHIVES = 100
"""Opening more of them would take longer than it is worth."""


@dataclass(frozen=True)
class InputSize:
    """The settings that decide how a photo goes into the network."""

    image_size: int
    stride: int
    megapixels: float
    """Larger photos are passed over."""


def network_input(photo: tuple[str, bytes], size: InputSize) -> np.ndarray | None:
    """The `photo`, a file's name and content, as the network takes it, but for the scale: uint8 (1, 3, h, w) RGB,
    letterboxed. None where it cannot be decoded; the crop job will say why."""
    name, data = photo
    try:
        header = formats.identify(name, data)
        if header.size is None or header.size[0] * header.size[1] > size.megapixels * 1e6:
            return None
        image = codec.decode(data, header)
    except (ImageError, MemoryError):
        return None
    letterbox = Letterbox.fit(image.shape[0], image.shape[1], size.image_size, size.stride)
    pixels = letterbox.apply(image, np.empty((*letterbox.shape, 3), np.uint8))
    return np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1)[np.newaxis])


class IsolatedDecoder:
    """`network_input` in a process of its own, since some photos crash their decoder, or hang in it for more than
    `seconds`. These give None as well."""

    def __init__(self, size: InputSize, seconds: float) -> None:
        self._isolation = Isolation(1, seconds, functools.partial(opencv.prepare, size.megapixels))
        self._size = size

    def __enter__(self) -> IsolatedDecoder:
        return self

    def __exit__(self, *exception: object) -> None:
        self._isolation.__exit__(*exception)

    def __call__(self, name: str, data: bytes) -> np.ndarray | None:
        """See `network_input`."""
        (pixels,) = self._isolation.map(functools.partial(network_input, size=self._size), [(name, data)])
        return pixels


def sample(archives: Iterable[str], limits: Limits, decode: Decode, count: int) -> Iterator[np.ndarray]:
    """Up to `count` photos as `decode` gives them, drawn with a fixed seed from the ZIP files `archives`, evenly.
    Members that cannot be read or decoded are left out."""
    draw = random.Random(_SEED)
    chosen = sorted(archives)
    draw.shuffle(chosen)
    chosen = chosen[:_MOST_ARCHIVES]
    found = 0
    for position, location in enumerate(chosen):
        share = -(-(count - found) // (len(chosen) - position))
        for pixels in _sample_one(location, limits, decode, draw, share):
            found += 1
            yield pixels


def _sample_one(location: str, limits: Limits, decode: Decode, draw: random.Random, count: int) -> Iterator[np.ndarray]:
    try:
        archive = Archive(location, limits)
    except (ArchiveError, OSError):
        return
    with archive:
        try:
            members = [
                member.index
                for member in archive.members()
                if not (member.kind or selection.reason_to_skip(member.name))
            ]
        except (ArchiveError, OSError):
            return
        draw.shuffle(members)
        found = 0
        # If an archive's photos are damaged, there is no point in trying all of them.
        for index in members[: 10 * count]:
            if found == count:
                return
            try:
                entry = archive.entry(index)
                data = archive.read(entry)
                selection.require_image(entry.name, data)
                pixels = decode(entry.name, data)
            except (MemberError, NotAnImage, OSError, MemoryError):
                continue
            if pixels is not None:
                found += 1
                yield pixels


def quantize(prepared: Path, target: Path, archives: Iterable[str], settings: Settings) -> Model:
    """Quantises the model whose JSON is `prepared` for the `settings`, on photos of the ZIP files `archives`, and
    writes it into the folder of `target`, a JSON file.

    Weights and activations become 8-bit integers, but for the ends of the detection head, which decide a box's last
    pixels and a score's last digits. Raises ModelError if NNCF is not installed or if there are no photos.
    """
    restrict.restrict_openvino()
    import openvino as ov

    try:
        import nncf
    except ImportError:
        raise ModelError(
            "precision int8 needs the package nncf, which is not installed; "
            "run `make setup-int8`, or set precision to f32"
        ) from None

    model = Model.read(prepared)
    model.check_files("openvino")
    limits = settings.limits
    count = min(PHOTOS, max(1, _MOST_BYTES // (3 * settings.image_size**2)))
    with IsolatedDecoder(InputSize(settings.image_size, model.stride, limits.megapixels), limits.seconds) as decoder:
        inputs = list(sample(archives, limits, decoder, count))
    if not inputs:
        raise ModelError(
            "precision int8 is calibrated on your photos, but none could be read; "
            "see that raw_zips has archives with photos, or set precision to f32"
        )
    print(f"calibrating on {len(inputs)} photos")
    network = ov.Core().read_model(model.openvino)
    quantized = nncf.quantize(
        network,
        nncf.Dataset(inputs, lambda pixels: pixels.astype(np.float32) / 255),
        preset=nncf.QuantizationPreset.MIXED,  # for SiLU, whose range is not symmetric
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(names=float_operations([op.get_friendly_name() for op in network.get_ops()])),
    )
    with machine_faults(f"writing the int8 model {target}"):
        return _write(quantized, model, target)


def _write(quantized: ov.Model, model: Model, target: Path) -> Model:
    """Writes the network and, last, its JSON `target`."""
    import openvino as ov

    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # lest it describe files that are being replaced
    shutil.rmtree(folder / "cache", ignore_errors=True)
    openvino = folder / "openvino.xml"
    with tempfile.TemporaryDirectory(dir=folder) as made:
        ov.save_model(quantized, Path(made) / openvino.name, compress_to_fp16=False)
        for file in Path(made).iterdir():
            file.replace(folder / file.name)  # files that other processes have mapped stay intact
    return dataclasses.replace(
        model,
        weights=f"../{Path(model.weights).name}",
        openvino=openvino.name,
        quantized=sha256(openvino.with_suffix(".bin")),
    ).write(target)


def float_operations(names: list[str]) -> list[str]:
    """The operations, of those called `names` in a YOLO network, that stay in f32: in the detection head, which is the
    last module, all but the convolutions before the last one of each branch.

    ultralytics calls the branches `cv2` (boxes) and `cv3` (classes); each is a list, by level, of three steps.
    """
    modules = [(int(match[1]), name) for name in names if (match := re.match(r"__module\.model\.(\d+)[./]", name))]
    head = max(index for index, _ in modules)
    inner = re.compile(rf"__module\.model\.{head}\.cv[23]\.\d+\.[01][./]")
    return [name for index, name in modules if index == head and not inner.match(name)]
