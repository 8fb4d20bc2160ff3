"""The picture of a benchmark's results.

usage: plot.py RESULTS.json PICTURE.svg
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

_PEER, _ZIPCROP = "#8a8f98", "#0072b2"  # apart for the colour-blind, and on light and dark pages

_WHOLE_JOBS = ("seed pipeline", "yolo predict", "zipcrop")


def draw(results: dict[str, Any], path: Path) -> None:
    """Draws images per second of every peer, on both kinds of photos, into an SVG file."""
    titles = {"COCO-sized": "Photos of about 640×480", "12 megapixels": "Photos of 12 megapixels"}
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.4), facecolor="white", layout="constrained")
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        section = results["raw"][name]
        peers = [peer for peer in section if peer.startswith(_WHOLE_JOBS)]
        rates = [section["photos"] / statistics.median(run["seconds"] for run in section[peer]) for peer in peers]
        colors = [_ZIPCROP if peer.startswith("zipcrop") else _PEER for peer in peers]
        bars = axis.barh(peers, rates, color=colors)
        axis.bar_label(bars, fmt="%.1f", padding=3)
        axis.invert_yaxis()
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("images/s")
        axis.margins(x=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    facts = results["facts"]
    figure.suptitle(f"yolov8s at {facts['image_size']}, {facts['cores']} cores, {facts['cpu']}", fontsize=11)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
