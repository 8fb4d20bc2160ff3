"""The moving average (EMA) of the weights in training."""

from __future__ import annotations

import math
from collections.abc import Callable


def decay(reach: float) -> Callable[[int], float]:
    """The part of itself, 0 to 1, that an average over about the last `reach` steps keeps in each, by the steps so far.

    It is smaller in the beginning, when the average still holds the weights from before the training, as in
    ultralytics' `ModelEMA`.
    """
    reach = max(1.0, reach)
    return lambda steps: (1 - 1 / reach) * (1 - math.exp(-steps / reach))
