"""The moving average of the weights."""

from __future__ import annotations

import numpy as np
import pytest

import moving_average


def test_it_comes_to_reach_as_far_as_it_is_told() -> None:
    decay = moving_average.decay(50)
    assert decay(0) == 0
    average = np.zeros(2)
    for step in range(1, 1001):
        average = decay(step) * average + (1 - decay(step)) * np.array([step, 1.0])
    # What keeps 1 - 1/50 of itself is 49 steps old on the mean.
    assert average == pytest.approx([1000 - 49, 1], abs=0.01)


def test_of_a_run_of_few_steps_it_is_the_last() -> None:
    assert moving_average.decay(0.04)(2) == 0
