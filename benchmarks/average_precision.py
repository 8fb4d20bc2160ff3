"""Average precision of one class, as COCO measures it (pycocotools' `cocoeval`, no crowds)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RECALLS = np.linspace(0, 1, 101)
"""Recall levels at which the precision is read off."""
IOUS = np.linspace(0.5, 0.95, 10)
"""IoU thresholds that AP50-95 averages over."""
SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's sizes of objects: least and greatest area in square pixels."""
MAX_DETECTIONS = 100
"""Detections per image that count, the most confident ones."""


def iou(detections: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of each pair: `detections` (n, 4) and `truth` (m, 4), x1, y1, x2, y2 in pixels; gives (n, m)."""
    upper_left = np.maximum(detections[:, np.newaxis, :2], truth[np.newaxis, :, :2])
    lower_right = np.minimum(detections[:, np.newaxis, 2:], truth[np.newaxis, :, 2:])
    shared = np.clip(lower_right - upper_left, 0, None).prod(axis=2)
    return shared / (area(detections)[:, np.newaxis] + area(truth)[np.newaxis, :] - shared)


def match(boxes: np.ndarray, truth: np.ndarray, threshold: float) -> np.ndarray:
    """Which of the true boxes each of the detections `boxes` (n, 4), by falling score, has found: its row in `truth`
    (m, 4), or -1; int (n,).

    Each in turn takes the true box that it overlaps most, from `threshold` up, of those not taken yet.
    """
    return _match(iou(boxes, truth), np.zeros(len(truth), bool), threshold)


def _match(overlaps: np.ndarray, ignored: np.ndarray, threshold: float) -> np.ndarray:
    """As `match`, from the IoU of each pair, (n, m); the true boxes that are `ignored`, bool (m,), come second."""
    free = np.ones(overlaps.shape[1], bool)
    found = np.full(len(overlaps), -1)
    for row, each in enumerate(overlaps):
        for group in (~ignored, ignored):
            candidates = np.where(free & group, each, -1.0)
            # Of equal ones the last, as cocoeval.
            best = len(candidates) - 1 - int(candidates[::-1].argmax()) if len(candidates) else -1
            if best >= 0 and candidates[best] >= min(threshold, 1 - 1e-10):
                free[best] = False
                found[row] = best
                break
    return found


def area(boxes: np.ndarray) -> np.ndarray:
    """Area of each of `boxes` (n, 4), x1, y1, x2, y2; float (n,)."""
    return (boxes[:, 2:4] - boxes[:, :2]).prod(axis=1)


def average_precision(
    detections: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
    threshold: float,
    areas: tuple[float, float] = SIZES["all"],
) -> float:
    """AP at one IoU threshold, 0 to 1, over images: `detections` float (n, 5) x1, y1, x2, y2, score, and `truth` (m, 4)
    of each. NaN where there is no true box at all.

    With `areas`, least and greatest in square pixels, only true boxes of such an area count. Detections that find
    others, and those of another area that find none, are neither right nor wrong.
    """
    least, greatest = areas
    total = 0
    scores, true = [np.zeros(0)], [np.zeros(0, bool)]
    for found, boxes in zip(detections, truth, strict=True):
        ignored = (area(boxes) < least) | (area(boxes) > greatest)
        total += int((~ignored).sum())
        found = found[np.argsort(-found[:, 4], kind="mergesort")][:MAX_DETECTIONS]
        matched = _match(iou(found[:, :4], boxes), ignored, threshold)
        outside = (area(found) < least) | (area(found) > greatest)
        counts = np.array(
            [not (outside[row] if best < 0 else ignored[best]) for row, best in enumerate(matched)], dtype=bool
        )
        scores.append(found[counts, 4])
        true.append(matched[counts] >= 0)
    if total == 0:
        return float("nan")
    order = np.argsort(-np.concatenate(scores), kind="mergesort")
    hits = np.cumsum(np.concatenate(true)[order])
    recall = hits / total
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALLS, side="left")
    return float(np.append(precision, 0.0)[at].mean())
