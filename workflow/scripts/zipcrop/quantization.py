"""Quantisation: from the f32 OpenVINO model to an int8 one, calibrated on the user's own photos."""

from __future__ import annotations

import dataclasses
import hashlib
import random
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from zipcrop import image, imports
from zipcrop.archive import Archive, ArchiveError, Limits, MemberError, NotAnImage
from zipcrop.errors import ModelError
from zipcrop.image import ImageError
from zipcrop.letterbox import Letterbox
from zipcrop.model import Model

PHOTOS = 300
"""How many photos calibrate a model; NNCF's own default."""
_SEED = 0
_MOST_ARCHIVES = 100
"""Opening more of them would take longer than it is worth."""


def sample_photos(archives: Iterable[Path], limits: Limits, count: int = PHOTOS) -> Iterator[np.ndarray]:
    """Up to `count` photos, uint8 (H, W, 3) BGR upright, drawn with a fixed seed from the ZIP files `archives`, evenly.

    What cannot be read or decoded is passed over: the crop job will say why.
    """
    draw = random.Random(_SEED)
    chosen = sorted(archives)
    draw.shuffle(chosen)
    chosen = chosen[:_MOST_ARCHIVES]
    found = 0
    for position, path in enumerate(chosen):
        share = -(-(count - found) // (len(chosen) - position))
        for photo in _photos(path, limits, draw, share):
            found += 1
            yield photo


def _photos(path: Path, limits: Limits, draw: random.Random, count: int) -> Iterator[np.ndarray]:
    try:
        archive = Archive(str(path), limits)
    except (ArchiveError, OSError):
        return
    with archive:
        members = [member.index for member in archive.members() if not member.skip]
        draw.shuffle(members)
        found = 0
        # In an archive of damaged photos there is no point in trying all of them.
        for index in members[: 10 * count]:
            if found == count:
                return
            try:
                data = archive.read(index)
                size = image.header_size(data)
                if size is None or size[0] * size[1] > limits.megapixels * 1e6:
                    continue
                photo = image.decode(data)
            except (ImageError, MemberError, NotAnImage, OSError, MemoryError):
                continue
            found += 1
            yield photo


def quantize(prepared: Path, target: Path, archives: Mapping[str, Path], image_size: int, limits: Limits) -> Model:
    """Quantises the model whose JSON is `prepared`, for letterboxes of `image_size` pixels, and writes it into the
    folder of `target`, a JSON file.

    Weights and activations become 8-bit integers, but for the ends of the detection head, where a box's last pixels and
    a score's last digits are made. Raises ModelError where NNCF is not installed or where there are no photos.
    """
    imports.restrict_openvino()
    import openvino as ov

    try:
        import nncf
    except ImportError:
        raise ModelError(
            "precision int8 needs the package nncf, which is not installed; "
            "run `make setup-int8`, or set precision to f32"
        ) from None

    model = Model.read(prepared)
    inputs = [_network_input(photo, image_size, model.stride) for photo in sample_photos(archives.values(), limits)]
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
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target.parent / "cache", ignore_errors=True)
    openvino = target.parent / "openvino.xml"
    ov.save_model(quantized, openvino, compress_to_fp16=False)
    prepared_int8 = dataclasses.replace(
        model,
        weights=f"../{Path(model.weights).name}",
        openvino=openvino.name,
        quantized=hashlib.sha256(openvino.with_suffix(".bin").read_bytes()).hexdigest(),
    )
    prepared_int8.write(target)
    return prepared_int8


def float_operations(names: list[str]) -> list[str]:
    """Of the operations called `names` in a YOLO network, those that stay in f32: in the detection head, which is the
    last module, all but the convolutions before the last one of each branch.

    ultralytics calls the branches `cv2` (boxes) and `cv3` (classes), each a list, by level, of three steps.
    """
    modules = [(int(match[1]), name) for name in names if (match := re.match(r"__module\.model\.(\d+)[./]", name))]
    head = max(index for index, _ in modules)
    inner = re.compile(rf"__module\.model\.{head}\.cv[23]\.\d+\.[01][./]")
    return [name for index, name in modules if index == head and not inner.match(name)]


def _network_input(photo: np.ndarray, image_size: int, stride: int) -> np.ndarray:
    """`photo` as the network takes it, but for the scale: uint8 (1, 3, h, w) RGB, letterboxed."""
    letterbox = Letterbox.fit(photo.shape[0], photo.shape[1], image_size, stride)
    return np.ascontiguousarray(letterbox.apply(photo)[:, :, ::-1].transpose(2, 0, 1)[np.newaxis])
