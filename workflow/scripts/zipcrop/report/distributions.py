"""How confidence, size, shape, number and position of the people in the photos are distributed: counts per bin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zipcrop.report.bins import ASPECT_EDGES, CONFIDENCE_EDGES, GRID, HEIGHT_EDGES, MOST_PEOPLE

if TYPE_CHECKING:
    import pandas as pd


class Distributions:
    """Counts per bin, added up over archives."""

    def __init__(self) -> None:
        self.confidence = np.zeros(len(CONFIDENCE_EDGES) - 1, int)
        """Kept people, by confidence."""
        self.best_scores = np.zeros(len(CONFIDENCE_EDGES) - 1, int)
        """Photos without people, by the best score below the threshold."""
        self.heights = np.zeros(len(HEIGHT_EDGES) - 1, int)
        self.aspects = np.zeros(len(ASPECT_EDGES) - 1, int)
        self.people = np.zeros(MOST_PEOPLE + 1, int)
        """Photos with people, by the number of people."""
        self.positions = np.zeros((GRID, GRID), int)
        """People, by the centre of their box in the photo: row from the top, column from the left."""

    def add(self, persons: pd.DataFrame, without: pd.DataFrame) -> None:
        """Counts the manifest's rows `persons`, with `crop_width` and `crop_height`, and those `without` people, with a
        confidence."""
        self.confidence += _count(persons["confidence"], CONFIDENCE_EDGES)
        self.best_scores += _count(without["confidence"], CONFIDENCE_EDGES)
        self.heights += _count(persons["crop_height"], HEIGHT_EDGES)
        self.aspects += _count(persons["crop_width"] / persons["crop_height"], ASPECT_EDGES)
        per_photo = persons["member_index"].value_counts().to_numpy()
        self.people += np.bincount(np.minimum(per_photo, MOST_PEOPLE), minlength=MOST_PEOPLE + 1)
        x = (persons["x1"] + persons["x2"]) / 2 / persons["width"]
        y = (persons["y1"] + persons["y2"]) / 2 / persons["height"]
        cell = [np.clip((each.to_numpy() * GRID).astype(int), 0, GRID - 1) for each in (y, x)]
        np.add.at(self.positions, tuple(cell), 1)

    def to_json(self) -> dict[str, Any]:
        """The counts by their names, as JSON can hold them."""
        return {key: counts.tolist() for key, counts in vars(self).items()}


def quantile(counts: np.ndarray, edges: np.ndarray, share: float) -> float | None:
    """The value below which `share` of what was counted lies, to the width of a bin; None if nothing was."""
    total = counts.sum()
    if not total:
        return None
    below = np.concatenate([[0], np.cumsum(counts)]) / total
    return float(np.interp(share, below, edges))


def _count(values: pd.Series, edges: np.ndarray) -> np.ndarray:
    return np.histogram(np.clip(values.to_numpy(), edges[0], edges[-1]), edges)[0]
