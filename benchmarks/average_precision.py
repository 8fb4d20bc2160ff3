"""Average precision of one class, as COCO measures it (pycocotools' `cocoeval`, all areas, no crowds)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RECALLS = np.linspace(0, 1, 101)
"""Recall levels at which the precision is read off."""
IOUS = np.linspace(0.5, 0.95, 10)
"""IoU thresholds that AP50-95 averages over."""
MAX_DETECTIONS = 100
"""Detections per image that count, the most confident ones."""


def iou(detections: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of each pair: `detections` (n, 4) and `truth` (m, 4), x1, y1, x2, y2 in pixels; gives (n, m)."""
    upper_left = np.maximum(detections[:, np.newaxis, :2], truth[np.newaxis, :, :2])
    lower_right = np.minimum(detections[:, np.newaxis, 2:], truth[np.newaxis, :, 2:])
    shared = np.clip(lower_right - upper_left, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (detections, truth)]
    return shared / (areas[0][:, np.newaxis] + areas[1][np.newaxis, :] - shared)


def match(boxes: np.ndarray, truth: np.ndarray, threshold: float) -> np.ndarray:
    """Which of the detections `boxes` (n, 4), by falling score, are true: bool (n,).

    Each in turn takes the true box that it overlaps most, from `threshold` up, of those not taken yet.
    """
    overlaps = iou(boxes, truth)
    free = np.ones(len(truth), bool)
    true = np.zeros(len(boxes), bool)
    for row in range(len(boxes)):
        candidates = np.where(free, overlaps[row], -1.0)
        # Of equal ones the last, as cocoeval.
        best = len(candidates) - 1 - int(candidates[::-1].argmax()) if len(candidates) else -1
        if best >= 0 and candidates[best] >= min(threshold, 1 - 1e-10):
            free[best] = False
            true[row] = True
    return true


def average_precision(detections: Sequence[np.ndarray], truth: Sequence[np.ndarray], threshold: float) -> float:
    """AP at one IoU threshold, 0 to 1, over images: `detections` float (n, 5) x1, y1, x2, y2, score, and `truth` (m, 4)
    of each. NaN where there is no true box at all."""
    total = sum(len(boxes) for boxes in truth)
    if total == 0:
        return float("nan")
    scores, true = [np.zeros(0)], [np.zeros(0, bool)]
    for found, boxes in zip(detections, truth, strict=True):
        found = found[np.argsort(-found[:, 4], kind="mergesort")][:MAX_DETECTIONS]
        scores.append(found[:, 4])
        true.append(match(found[:, :4], boxes, threshold))
    order = np.argsort(-np.concatenate(scores), kind="mergesort")
    hits = np.cumsum(np.concatenate(true)[order])
    recall = hits / total
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALLS, side="left")
    return float(np.append(precision, 0.0)[at].mean())
