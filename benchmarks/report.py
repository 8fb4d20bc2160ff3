"""The report of a benchmark: figures with their goals."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """The figures that were measured."""

    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    """For each figure its name, median, least to greatest, goal, and whether that is met."""
    raw: dict[str, Any] = field(default_factory=dict)

    def add(self, figure: str, values: Sequence[float], goal: float | None = None, at_most: bool = False) -> None:
        """Adds a figure by its value in each round; `goal` is its least good value, with `at_most` its greatest."""
        median = statistics.median(values)
        met = "" if goal is None else "yes" if (median <= goal if at_most else median >= goal) else "no"
        bound = "" if goal is None else f"{'≤' if at_most else '≥'} {goal:g}"
        row = (figure, f"{median:.3g}", f"{min(values):.3g} to {max(values):.3g}", bound, met)
        self.rows.append(row)
        print(" | ".join(row), flush=True)

    def table(self) -> str:
        """The figures as a table in Markdown."""
        lines = [("figure", "median", "least to greatest", "goal", "met"), ("---",) * 5, *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
