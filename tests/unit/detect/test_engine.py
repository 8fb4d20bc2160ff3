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
from helpers.project import SCRIPTS, WEIGHTS
from zipcrop.detect import engine
from zipcrop.detect.letterbox import Letterbox
from zipcrop.detect.model import Model
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
    return engine.load(Model.read(model_json), name, threads, THRESHOLDS)  # type: ignore[arg-type]


def letterbox_of(image: np.ndarray) -> Letterbox:
    height, width = image.shape[:2]
    return Letterbox.fit(height, width, IMAGE_SIZE, 32)


def detect(detector: engine.Engine, image: np.ndarray, copies: int = 1) -> list[np.ndarray]:
    letterbox = letterbox_of(image)
    found = detector.detect(np.stack([letterboxed(image)] * copies))
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


def test_torch_comes_without_what_doubles_its_import() -> None:
    code = "import sys; from zipcrop.detect import network, pytorch, weights; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    result = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
    imported = set(result.stdout.split())
    assert "torch" in imported
    assert imported.isdisjoint({"torchvision", "torch._dynamo", "sympy"})


def test_what_jobs_workers_and_the_listening_side_need_comes_without_torch() -> None:
    modules = "client, lease, letterbox, persons, server"
    code = f"import sys; from zipcrop.detect import {modules}; assert 'torch' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_scores_reach_down_to_the_floor(model_json: Path) -> None:
    for name in ("openvino", "torch"):
        engine = load(name, model_json)
        scores = []
        for image in images():
            (persons,) = engine.detect(letterboxed(image)[np.newaxis])
            assert (np.diff(persons[:, 4]) <= 0).all()
            scores += persons[:, 4].tolist()
        assert 0.05 <= min(scores) < 0.1
