"""The evaluation against true boxes, on photos counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

import evaluate
from evaluate import Photos


@pytest.fixture
def truth() -> Photos:
    """A large person and a small one, a medium one, and a photo without people."""
    return {
        ("a", "two.jpg"): np.array([[0.0, 0, 200, 300], [300, 0, 320, 20]]),
        ("a", "one.jpg"): np.array([[0.0, 0, 50, 90]]),
        ("a", "none.jpg"): np.zeros((0, 4)),
    }


@pytest.fixture
def detections() -> Photos:
    """The large person, twice, and not in the order of confidence; the small one, unsurely; and a person of air."""
    return {
        ("a", "two.jpg"): np.array([[300.0, 0, 320, 20, 0.2], [0, 0, 190, 300, 0.5], [0, 0, 200, 300, 0.9]]),
        ("a", "one.jpg"): np.zeros((0, 5)),
        ("a", "none.jpg"): np.array([[10.0, 10, 60, 100, 0.6]]),
    }


def test_precision_recall_and_counts(truth: Photos, detections: Photos) -> None:
    measured = evaluate.measure(detections, truth, 0.25)
    assert measured["precision"] == pytest.approx(100 / 3)
    assert measured["recall"] == pytest.approx(100 / 3)
    assert (measured["persons"], measured["found photos"], measured["false photos"]) == (3, 1, 1)
    assert evaluate.measure(detections, truth, 0.1)["recall"] == pytest.approx(200 / 3)
    assert evaluate.measure(detections, truth, 0.95)["precision"] == 0


def test_sizes(truth: Photos, detections: Photos) -> None:
    sizes = evaluate.measure_sizes(detections, truth, 0.25)
    assert {size: each["true persons"] for size, each in sizes.items()} == {
        "all": 3,
        "small": 1,
        "medium": 1,
        "large": 1,
    }
    assert {size: each["recall"] for size, each in sizes.items() if size != "all"} == {
        "small": 0,
        "medium": 0,
        "large": 100,
    }
    assert (sizes["large"]["AP50"], sizes["medium"]["AP50"], sizes["small"]["AP50"]) == pytest.approx((100, 0, 100))


def test_photos_in_no_manifest_are_counted_and_said(
    truth: Photos, detections: Photos, capsys: pytest.CaptureFixture[str]
) -> None:
    del detections["a", "two.jpg"]
    assert evaluate.measure(detections, truth, 0.25)["recall"] == 0
    assert "1 photos, such as ('a', 'two.jpg'), are in no manifest" in capsys.readouterr().out
