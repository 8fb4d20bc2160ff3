from __future__ import annotations

import numpy as np
import pytest

from zipcrop.detect.persons import select
from zipcrop.settings import SCORE_FLOOR, Thresholds

THRESHOLDS = Thresholds(confidence=0.25, iou=0.7, max_detections=300)


def prediction(*anchors: tuple[float, ...]) -> np.ndarray:
    """Anchors as x, y, width, height and two scores: cat, person."""
    return np.array(anchors, np.float32).reshape(-1, 6).T


def test_best_class_only() -> None:
    found = select(prediction((50, 50, 20, 20, 0.9, 0.8), (150, 50, 20, 20, 0.1, 0.6)), 1, THRESHOLDS)
    np.testing.assert_allclose(found, [[140, 40, 160, 60, 0.6]], rtol=1e-6)


def test_falling_confidence_and_nms() -> None:
    found = select(
        prediction(
            (50, 50, 20, 20, 0, 0.5),
            (50, 50, 20, 21, 0, 0.7),  # IoU 0.95 with the first
            (52, 50, 20, 20, 0, 0.3),  # IoU 0.79 with the second
            (58, 50, 20, 20, 0, 0.9),  # IoU 0.43 with the first
        ),
        1,
        THRESHOLDS,
    )
    np.testing.assert_allclose(found[:, 4], [0.9, 0.7], rtol=1e-6)


def test_scores_below_the_threshold_are_reported_down_to_the_floor() -> None:
    found = select(
        prediction((50, 50, 9, 9, 0, SCORE_FLOOR + 0.01), (90, 50, 9, 9, 0, SCORE_FLOOR - 0.01)), 1, THRESHOLDS
    )
    assert len(found) == 1
    assert Thresholds(confidence=0.01, iou=0.7, max_detections=300).floor == 0.01


def test_nothing_found() -> None:
    assert select(prediction(), 1, THRESHOLDS).shape == (0, 5)
    assert select(prediction((50, 50, 9, 9, 0, 0)), 1, THRESHOLDS).shape == (0, 5)


@pytest.mark.parametrize("most", [1, 7])
def test_max_detections_keeps_the_most_confident(most: int) -> None:
    anchors = [(20.0 * i, 50, 9, 9, 0, 0.3 + i / 100) for i in range(10)]
    found = select(prediction(*anchors), 1, Thresholds(0.25, 0.7, most))
    np.testing.assert_allclose(found[:, 4], [0.3 + i / 100 for i in range(9, 9 - most, -1)], rtol=1e-6)


def test_same_as_ultralytics_nms() -> None:
    import torch
    from ultralytics.utils.nms import non_max_suppression

    rng = np.random.default_rng(0)
    raw = np.concatenate([rng.uniform(100, 300, (2, 3000)), rng.uniform(20, 90, (2, 3000)), rng.random((3, 3000))])
    raw = raw.astype(np.float32)
    theirs = non_max_suppression(
        torch.from_numpy(raw[None].copy()), SCORE_FLOOR, 0.7, classes=[2], max_det=300, max_time_img=1e9
    )[0]
    np.testing.assert_allclose(select(raw, 2, THRESHOLDS), theirs[:, :5].numpy(), atol=1e-4)
