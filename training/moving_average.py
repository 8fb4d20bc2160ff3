"""The moving average (EMA) of the weights in training."""

from __future__ import annotations

import math
from collections.abc import Callable


def decay(reach: float) -> Callable[[int], float]:
    """How much of itself an average over about the last `reach` steps keeps in a step, 0 to 1, by the steps so far.

    Less in the beginning, when it still holds the weights from before the training; as ultralytics' `ModelEMA` has it.
    """
    reach = max(1.0, reach)
    return lambda steps: (1 - 1 / reach) * (1 - math.exp(-steps / reach))
