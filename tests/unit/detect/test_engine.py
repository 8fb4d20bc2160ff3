"""Both engines against the reference: `YOLO.predict` on each image alone."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.job import IMAGE_SIZE
from helpers.photos import letterboxed, photo
from helpers.project import ROOT, WEIGHTS
from zipcrop.detect import engine
from zipcrop.detect.letterbox import Letterbox
from zipcrop.detect.model import Model
from zipcrop.errors import MachineError
from zipcrop.settings import Thresholds

THRESHOLDS = Thresholds(confidence=0.1, iou=0.7, max_detections=300)


@functools.cache
def images() -> list[np.ndarray]:
    """Photos of several shapes, some of them equal."""
    bus, zidane = photo("bus"), photo("zidane")
    return [bus, zidane, zidane[:, ::-1].copy(), bus[400:900, :700].copy(), cv2.resize(bus, (333, 500)), photo("empty")]


@functools.cache
def references() -> list[np.ndarray]:
    """For each image x1, y1, x2, y2, confidence of `YOLO.predict`."""
    from ultralytics import YOLO

    yolo = YOLO(WEIGHTS)
    arguments = {"classes": [0], "conf": THRESHOLDS.confidence, "iou": THRESHOLDS.iou, "imgsz": IMAGE_SIZE}
    return [
        yolo.predict(image, verbose=False, device="cpu", **arguments)[0].boxes.data[:, :5].numpy() for image in images()
    ]


def load(name: str, model_json: Path, threads: int = 2) -> engine.Engine:
    return engine.load(Model.read(model_json), name, "cpu", threads, 16, THRESHOLDS)  # type: ignore[arg-type]


def letterbox_of(image: np.ndarray, size: int = IMAGE_SIZE) -> Letterbox:
    height, width = image.shape[:2]
    return Letterbox.fit(height, width, size, 32)


def detect(detector: engine.Engine, image: np.ndarray, copies: int = 1) -> list[np.ndarray]:
    letterbox = letterbox_of(image)
    found = detector.detect(np.stack([letterboxed(image, letterbox)] * copies))
    kept = [persons[persons[:, 4] > THRESHOLDS.confidence] for persons in found]
    return [np.column_stack([letterbox.to_image(persons[:, :4]), persons[:, 4]]) for persons in kept]


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_equals_yolo_predict(name: str, model_json: Path) -> None:
    detector = load(name, model_json)
    assert sum(map(len, references())) > 10
    for image, reference in zip(images(), references(), strict=True):
        (found,) = detect(detector, image)
        assert found.shape == reference.shape
        np.testing.assert_allclose(found[:, :4], reference[:, :4], atol=0.1)
        np.testing.assert_allclose(found[:, 4], reference[:, 4], atol=1e-4)


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_an_image_alone_in_a_batch_and_on_other_cores_is_the_same_to_the_bit(name: str, model_json: Path) -> None:
    (alone,) = detect(load(name, model_json, threads=1), images()[0])
    for threads in (1, 2, 3):
        for found in detect(load(name, model_json, threads), images()[0], copies=5):
            np.testing.assert_array_equal(found, alone)


def test_the_torch_engine_has_nms_of_torchvision() -> None:
    """Without it, ultralytics goes through the boxes in Python, which on a GPU takes longer than the network."""
    code = "from zipcrop.detect import pytorch; import sys; assert 'torchvision' in sys.modules"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow" / "scripts")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_scores_reach_down_to_the_floor(model_json: Path) -> None:
    for name in ("openvino", "torch"):
        engine = load(name, model_json)
        scores = []
        for image in images():
            letterbox = letterbox_of(image)
            (persons,) = engine.detect(letterboxed(image, letterbox)[np.newaxis])
            assert (np.diff(persons[:, 4]) <= 0).all()
            scores += persons[:, 4].tolist()
        assert 0.05 <= min(scores) < 0.1


def test_boxes_of_an_f16_network_are_not_rounded_to_f16(model_json: Path) -> None:
    import torch

    from zipcrop.detect import weights
    from zipcrop.detect.pytorch import decode_in_f32

    letterbox = letterbox_of(images()[0], 1280)
    pixels = torch.from_numpy(letterboxed(images()[0], letterbox)[np.newaxis]).flip(-1).permute(0, 3, 1, 2) / 255
    module = weights.load(Path(Model.read(model_json).weights)).fuse(verbose=False).eval()
    with torch.inference_mode():
        wanted = module(pixels)[0]
        module.half()
        rounded = module(pixels.half())[0]
        decode_in_f32(module)
        found = module(pixels.half())[0]
    assert found.dtype == torch.float32
    sure = wanted[0, 4] > 0.25
    assert sure.any()
    error = [(prediction[0, :4, sure].float() - wanted[0, :4, sure]).abs().mean() for prediction in (found, rounded)]
    assert error[0] < error[1]
    assert (found[0, 4] - wanted[0, 4]).abs().max() < 0.02


def crowded_gpu(model_json: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> tuple[engine.Engine, list[int]]:
    """A torch engine as on a GPU that has memory for `room` images, and the sizes of the batches that it tries."""
    import torch

    detector = load("torch", model_json)
    tried = []

    def detect_on_gpu(batch: np.ndarray) -> list[np.ndarray]:
        tried.append(len(batch))
        if len(batch) > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [np.full((1, 5), image[0, 0, 0], np.float32) for image in batch]

    monkeypatch.setattr(detector, "_on_gpu", True)
    monkeypatch.setattr(detector, "batch", 16)
    monkeypatch.setattr(detector, "_detect_on_gpu", detect_on_gpu, raising=True)
    return detector, tried


def test_a_gpu_out_of_memory_gets_smaller_batches(model_json: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, tried = crowded_gpu(model_json, monkeypatch, room=3)
    batch = np.arange(13, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)
    assert [int(persons[0, 0]) for persons in detector.detect(batch)] == list(range(13))
    assert tried == [13, 6, 3, 3, 7, 3, 4, 2, 2]
    assert detector.batch <= 3


def test_a_gpu_without_memory_for_one_image_fails_the_job(model_json: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, tried = crowded_gpu(model_json, monkeypatch, room=0)
    with pytest.raises(MachineError, match="the GPU has no memory left, even for a single photo; end other programs"):
        detector.detect(np.zeros((4, 32, 32, 3), np.uint8))
    assert tried == [4, 2, 1]
