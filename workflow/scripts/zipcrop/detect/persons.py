"""From a detection head's output to persons: best class, threshold, NMS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from zipcrop.settings import Thresholds


def select(prediction: np.ndarray, person: int, thresholds: Thresholds) -> np.ndarray:
    """The persons in one image's `prediction`, float32 (4 + classes, anchors): rows x, y (centre), width, height in
    letterbox pixels, then one score per class; `person` is the class that counts. Where the scores of all other classes
    were compared already, as in `network.Detector`, its score is the only one.

    Gives float32 (n, 5): x1, y1, x2, y2 in letterbox pixels and score, by falling score, from `thresholds.floor` up. An
    anchor counts only if person is its best class, as with ultralytics' `classes=[person]`.
    """
    scores = prediction[4 + person]
    candidates = np.flatnonzero(scores > thresholds.floor)
    candidates = candidates[prediction[4:, candidates].argmax(0) == person]
    if not candidates.size:
        return np.empty((0, 5), np.float32)
    x, y, width, height = prediction[:4, candidates]
    # In float32 and in this order, as ultralytics' xywh2xyxy, for the last digit's sake.
    x1, y1 = x - width / 2, y - height / 2
    boxes = np.stack([x1, y1, x + width / 2, y + height / 2], axis=1)
    scores = scores[candidates]
    rectangles = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = np.asarray(
        cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), thresholds.floor, thresholds.iou), dtype=np.intp
    )[: thresholds.max_detections]
    return np.column_stack([boxes[kept], scores[kept]]).astype(np.float32, copy=False)
