"""The bins of the distributions. Apart from `distributions`, so that drawing them needs no pandas."""

from __future__ import annotations

import numpy as np

CONFIDENCE_EDGES = np.linspace(0, 1, 101)
HEIGHT_EDGES = 2 ** np.linspace(0, 14, 113)
"""Of crop heights, pixels: eight bins to the octave. Values outside count in the outermost bin."""
ASPECT_EDGES = 2 ** np.linspace(-5, 5, 81)
"""Of crops' width / height: eight bins to the octave, as above."""
MOST_PEOPLE = 30
"""Photos with more people than this count as photos with that many."""
GRID = 24
"""Rows and columns of the map of positions."""
