"""AP as COCO's own implementation gives it."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from average_precision import IOUS, SIZES, average_precision


def random_boxes(generator: np.random.Generator, count: int) -> np.ndarray:
    corner = generator.uniform(0, 400, (count, 2))
    return np.hstack([corner, corner + generator.uniform(5, 200, (count, 2))]).round(1)


def photos(seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Detections and truth with misses, false alarms, ties, empty photos, and more than 100 detections in one."""
    generator = np.random.default_rng(seed)
    detections, truth = [], []
    for number in range(40):
        true = random_boxes(generator, int(generator.integers(0, 8)))
        near = true + generator.normal(0, 0.08, true.shape) * np.tile(true[:, 2:] - true[:, :2], 2)
        near = near[generator.random(len(near)) < 0.8]
        boxes = np.vstack([near, random_boxes(generator, 150 if number == 0 else int(generator.integers(0, 6)))])
        if seed % 2:  # on a coarse grid IoUs are often equal, or a threshold exactly
            true, boxes = (true / 8).round() * 8, (boxes / 8).round() * 8
            true[:, 2:] = np.maximum(true[:, 2:], true[:, :2] + 8)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        scores = generator.random(len(boxes)).round(2)
        detections.append(np.column_stack([boxes, scores]))
        truth.append(true)
    return detections, truth


def coco_average_precision(detections: list[np.ndarray], truth: list[np.ndarray]) -> np.ndarray:
    """By IoU threshold and size, (10, 4), as pycocotools measures it."""

    def xywh(box: np.ndarray) -> list[float]:
        return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]

    annotations = [
        {"image_id": image, "category_id": 1, "bbox": xywh(box), "area": xywh(box)[2] * xywh(box)[3], "iscrowd": 0}
        for image, boxes in enumerate(truth)
        for box in boxes
    ]
    results = [
        {"image_id": image, "category_id": 1, "bbox": xywh(box), "score": float(box[4])}
        for image, boxes in enumerate(detections)
        for box in boxes
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(truth))],
            "categories": [{"id": 1}],
            "annotations": [{**annotation, "id": number} for number, annotation in enumerate(annotations, 1)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, 0, :, -1].mean(axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_equals_pycocotools(seed: int) -> None:
    detections, truth = photos(seed)
    expected = coco_average_precision(detections, truth)
    assert expected[0, 0] > 0.1
    assert ((expected[0] > 0) & (expected[0] < 0.9)).all()
    measured = [[average_precision(detections, truth, iou, areas) for areas in SIZES.values()] for iou in IOUS]
    assert np.array(measured) == pytest.approx(expected, abs=1e-9)


def test_perfect_and_hopeless() -> None:
    truth = [np.array([[0.0, 0, 10, 10]])]
    assert average_precision([np.array([[0.0, 0, 10, 10, 0.9]])], truth, 0.95) == pytest.approx(1)
    assert average_precision([np.array([[50.0, 50, 60, 60, 0.9]])], truth, 0.5) == 0
    assert average_precision([np.zeros((0, 5))], truth, 0.5) == 0
    assert np.isnan(average_precision([np.zeros((0, 5))], [np.zeros((0, 4))], 0.5))
