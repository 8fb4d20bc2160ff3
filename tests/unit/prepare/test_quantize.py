from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.files import flip, make_zip
from helpers.job import IMAGE_SIZE, SETTINGS
from helpers.photos import encoded, letterboxed
from zipcrop.detect import engine
from zipcrop.detect.model import Model, is_whole
from zipcrop.errors import ModelError
from zipcrop.image import codec, formats
from zipcrop.image.formats import ImageError
from zipcrop.prepare import quantize
from zipcrop.settings import Limits, Settings, Thresholds

LIMITS = Limits(256, 100, 1000, 120)
TEST_SETTINGS = Settings.from_flat(SETTINGS)


def decoded(name: str, data: bytes) -> np.ndarray:
    return codec.decode(data, formats.identify(name, data))


def decode_or_none(name: str, data: bytes) -> np.ndarray | None:
    try:
        return decoded(name, data)
    except ImageError:
        return None


def test_the_sample_is_seeded_even_and_passes_over_what_is_bad(tmp_path: Path) -> None:
    sizes = {}
    archives = []
    for number in range(3):
        members = [(f"{k}.png", encoded("empty", ".png", scale=0.1 + 0.01 * (10 * number + k))) for k in range(6)]
        for name, data in members:
            sizes[decoded(name, data).shape] = number, name
        path = make_zip(tmp_path / f"{number}.zip", [*members, ("bad.jpg", b"no photo"), ("a.txt", b"text")])
        archives.append(str(path))
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    archives.append(str(tmp_path / "bad.zip"))

    def drawn(count: int) -> list[tuple[int, str]]:
        return [sizes[photo.shape] for photo in quantize.sample(archives, LIMITS, decode_or_none, count)]

    assert drawn(6) == drawn(6)
    # What falls to the bad archive may be missing.
    assert 4 <= len(set(drawn(6))) == len(drawn(6)) <= 6
    assert {number for number, _ in drawn(6)} == {0, 1, 2}
    assert sorted(drawn(100)) == sorted(sizes.values())


def test_the_ends_of_the_head_stay_in_float() -> None:
    head = "__module.model.22"
    quantised = [f"{head}.cv2.0.0.conv/Convolution", f"{head}.cv3.2.1.conv/Convolution"]
    in_float = [f"{head}.cv2.0.2/Convolution", f"{head}.cv3.1.2/Add", f"{head}.dfl/Softmax", f"{head}/aten::sigmoid"]
    names = ["x", "Constant_1", "__module.model.2.cv1.conv/Convolution", *quantised, *in_float]
    assert quantize.float_operations(names) == in_float


def test_int8_finds_the_same_people(model_json: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_json.parent, tmp_path / "model")
    names = [("bus", 0.5), ("zidane", 0.5), ("bus", 0.3), ("zidane", 0.3), ("empty", 1.0)]
    members = [(f"{number}.jpg", encoded(name, scale=scale)) for number, (name, scale) in enumerate(names)]
    archives = [str(make_zip(tmp_path / "photos.zip", members))]
    target = folder / "int8" / "model.json"
    quantize.quantize(folder / "model.json", target, archives, TEST_SETTINGS)
    int8, f32 = Model.read(target), Model.read(folder / "model.json")
    assert is_whole(target)
    assert int8.sha256 == f32.sha256
    assert int8.identity != f32.identity
    size_int8, size_f32 = (Path(model.openvino).with_suffix(".bin").stat().st_size for model in (int8, f32))
    assert size_int8 < size_f32 / 1.9
    for name in ("bus", "zidane"):
        pixels = decoded("a.jpg", encoded(name))
        batch = letterboxed(pixels)[np.newaxis]
        f32_found, int8_found = (
            engine.load(model, "openvino", 1, Thresholds(0.3, 0.7, 300)).detect(batch)[0] for model in (f32, int8)
        )
        # One whose score is near the line may be on either side of it, by processor: each sure one of either model is
        # to be found by the other, whose score may be lower by as much as is allowed below.
        assert (f32_found[:, 4] > 0.4).any()
        assert_all_found(f32_found, int8_found)
        assert_all_found(int8_found, f32_found)
        assert not np.array_equal(f32_found, int8_found)


def assert_all_found(persons: np.ndarray, others: np.ndarray) -> None:
    """Each of `persons` with a score above 0.4 has one of its own among `others`, of nearly its score and place."""
    taken: set[int] = set()
    for person in persons[persons[:, 4] > 0.4]:
        near = (np.abs(others[:, :4] - person[:4]).max(1) < 0.05 * IMAGE_SIZE) & (
            np.abs(others[:, 4] - person[4]) < 0.1
        )
        free = [index for index in np.flatnonzero(near).tolist() if index not in taken]
        assert free, (person, others)
        taken.add(free[0])


def test_a_damaged_model_is_not_quantised(model_json: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_json.parent, tmp_path / "model")
    flip(folder / "openvino.bin")
    with pytest.raises(ModelError, match=r"openvino.bin is damaged; run again, and it is prepared anew"):
        quantize.quantize(folder / "model.json", folder / "int8" / "model.json", [], TEST_SETTINGS)


def test_without_photos_there_is_nothing_to_calibrate_on(model_json: Path, tmp_path: Path) -> None:
    archives = [str(make_zip(tmp_path / "bad.zip", [("bad.jpg", b"no photo")]))]
    with pytest.raises(ModelError, match="calibrated on your photos, but none could be read"):
        quantize.quantize(model_json, tmp_path / "model.json", archives, TEST_SETTINGS)


def test_without_nncf_a_sentence_says_what_to_do(
    model_json: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ModelError, match="run `make setup-int8`, or set precision to f32"):
        quantize.quantize(model_json, tmp_path / "model.json", [], TEST_SETTINGS)
