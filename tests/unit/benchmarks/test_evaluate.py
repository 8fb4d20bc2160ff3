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


@pytest.mark.parametrize(
    ("box", "expected"), [((0.0, 0, 10, 10, 0.9), (100, 100)), ((50.0, 50, 60, 60, 0.9), (0, 0)), (None, (0, 0))]
)
def test_average_precision_of_perfect_hopeless_and_no_persons(
    box: tuple[float, ...] | None, expected: tuple[float, float]
) -> None:
    found = {("a", "a.jpg"): np.array([box] if box else np.zeros((0, 5)))}
    measured = evaluate.measure(found, {("a", "a.jpg"): np.array([[0.0, 0, 10, 10]])}, 0.25)
    assert (measured["AP50"], measured["AP50-95"]) == pytest.approx(expected)


def test_average_precision_is_unknown_where_nobody_is(detections: Photos) -> None:
    nobody = {key: np.zeros((0, 4)) for key in detections}
    assert np.isnan(evaluate.measure(detections, nobody, 0.25)["AP50"])
    assert np.isnan(evaluate.measure({}, nobody, 0.25)["AP50-95"])


def test_persons_beyond_100_count_for_recall_but_not_for_average_precision() -> None:
    lefts = np.arange(150.0) * 20
    row = np.column_stack([lefts, lefts * 0, lefts + 10, lefts * 0 + 10])
    truth = {("a", "crowd.jpg"): row}
    found = {("a", "crowd.jpg"): np.column_stack([row, np.linspace(0.9, 0.3, 150)])}
    measured = evaluate.measure(found, truth, 0.25)
    assert (measured["recall"], measured["precision"]) == (100, 100)
    assert measured["AP50"] == pytest.approx(100 * 67 / 101)  # recall 0, 0.01 ... 0.66 of the 101 levels
    assert evaluate.measure(found, truth, 0.6)["recall"] == 50
