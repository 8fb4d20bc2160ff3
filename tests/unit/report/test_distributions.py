from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from zipcrop.report.bins import ASPECT_EDGES, CONFIDENCE_EDGES, GRID, HEIGHT_EDGES, MOST_PEOPLE
from zipcrop.report.distributions import Distributions, quantile


def persons(**columns: list[float]) -> pd.DataFrame:
    number = len(next(iter(columns.values())))
    usual: dict[str, list[float]] = {
        "member_index": list(range(number)),
        "confidence": [0.5] * number,
        "width": [100] * number,
        "height": [200] * number,
        "crop_width": [10] * number,
        "crop_height": [20] * number,
        "x1": [0.0] * number,
        "y1": [0.0] * number,
        "x2": [10.0] * number,
        "y2": [20.0] * number,
    }
    return pd.DataFrame({**usual, **columns})


NOBODY = persons(confidence=[])


def test_every_person_counts_once_in_each() -> None:
    counted = Distributions()
    counted.add(persons(confidence=[0.3, 1.0, 0.25]), persons(confidence=[0.0500001, 0.2]))
    counted.add(persons(confidence=[0.3]), NOBODY)
    counted.add(NOBODY, NOBODY)
    assert counted.confidence.sum() == counted.heights.sum() == counted.aspects.sum() == counted.positions.sum() == 4
    assert counted.people.sum() == 4
    assert counted.best_scores.sum() == 2
    assert counted.confidence[-1] == 1  # 1.0 is in the last bin, not beyond it


def test_what_lies_outside_counts_in_the_outermost_bin() -> None:
    counted = Distributions()
    counted.add(persons(crop_height=[100000, 1], crop_width=[1, 100000]), NOBODY)
    assert (counted.heights[0], counted.heights[-1]) == (1, 1)
    assert (counted.aspects[0], counted.aspects[-1]) == (1, 1)


def test_people_are_counted_per_photo() -> None:
    counted = Distributions()
    counted.add(persons(member_index=[1, 1, 4, *[9] * (MOST_PEOPLE + 5)]), NOBODY)
    assert {number: count for number, count in enumerate(counted.people) if count} == {1: 1, 2: 1, MOST_PEOPLE: 1}


def test_positions_are_those_of_the_centres() -> None:
    counted = Distributions()
    # The photo is 100 wide and 200 high; the box's centre is at a quarter from the left, three quarters from the top.
    counted.add(persons(x1=[20.0], x2=[30.0], y1=[140.0], y2=[160.0]), NOBODY)
    assert np.argwhere(counted.positions).tolist() == [[GRID * 3 // 4, GRID // 4]]
    # On the edge it is still inside.
    counted.add(persons(x1=[100.0], x2=[100.0], y1=[200.0], y2=[200.0]), NOBODY)
    assert counted.positions[-1, -1] == 1


@pytest.mark.parametrize("edges", [CONFIDENCE_EDGES, HEIGHT_EDGES, ASPECT_EDGES])
def test_quantiles_are_right_to_the_width_of_a_bin(edges: np.ndarray) -> None:
    values = np.random.default_rng(0).uniform(edges[0], edges[-1], 10000)
    counts, _ = np.histogram(values, edges)
    for share in (0.05, 0.5, 0.95):
        found = quantile(counts, edges, share)
        true = np.quantile(values, share)
        width = np.diff(edges)[np.searchsorted(edges, true) - 1]
        assert found is not None
        assert abs(found - true) <= width


def test_there_is_no_quantile_of_nothing() -> None:
    assert quantile(np.zeros(100, int), CONFIDENCE_EDGES, 0.5) is None
