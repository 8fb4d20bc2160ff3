"""The plots, as vector graphics (SVG), drawn from a survey.

Colours are those of Okabe and Ito (2008), which the colour-blind can tell apart, and text stays text, so that a browser
can show any script and find it. In a dark page, paper and ink change places.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from zipcrop.report.bins import ASPECT_EDGES, CONFIDENCE_EDGES, GRID, HEIGHT_EDGES, MOST_PEOPLE
from zipcrop.report.label import counted, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 40
"""Up to that many archives, each has a bar. Of more, the worst WORST_BARS have one, and all are drawn in outline."""
WORST_BARS = 30
OUTCOMES = {
    "person_images": ("with people", "#0072b2"),
    "no_person_images": ("without people", "#e69f00"),
    "rejected_images": ("rejected", "#cc79a7"),
    "failed": ("failed", "#d55e00"),
    "skipped": ("skipped", "#5a5a5a"),
}
_BLUE, _ORANGE, _VERMILION = "#0072b2", "#e69f00", "#d55e00"
_PAPER, _INK, _GRID_LINES = "#fefefe", "#1a1a1a", "#d9d9d9"
_DARK = {_PAPER: "#16181d", _INK: "#e8e8e8", _GRID_LINES: "#3d4149"}
_WIDTH = 8.0  # inches
_BAR = 0.24
"""Inches."""
_STEPS = 100
"""In the outline of all archives."""
_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": _INK,
    "axes.facecolor": _PAPER,
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.facecolor": _PAPER,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": _GRID_LINES,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "savefig.facecolor": _PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "zipcrop",  # the same file every time
    "text.color": _INK,
    "text.parse_math": False,  # archives may have a dollar in their names
    "xtick.color": _INK,
    "ytick.color": _INK,
}
Survey = dict[str, Any]


def draw_all(survey: Survey, folder: Path) -> None:
    """Writes all plots of `survey` into `folder`, as `<name>.svg` for each name in `PLOTS`."""
    for name, draw in PLOTS.items():
        with mpl.rc_context(_STYLE):
            _save(draw(survey), folder / f"{name}.svg")


def outcomes(survey: Survey) -> Figure:
    """Outcomes of the members of each archive, in shares."""
    archives = survey["archives"]
    bars, outline = _split(archives)
    figure, axes = _panels(len(bars), bool(outline))
    _stack_bars(axes[0], bars)
    _title(axes[0], "What became of the members", bars, archives, "worst")
    if outline:
        # One step for each archive would be a comb.
        grouped = len(archives) > _STEPS
        edges = np.linspace(0, len(archives), min(len(archives), _STEPS) + 1).astype(int)
        shares = np.add.reduceat(_shares(archives), edges[:-1], axis=1) / np.diff(edges)
        bottom = np.zeros(len(edges) - 1)
        for (name, colour), share in zip(OUTCOMES.values(), shares, strict=True):
            axes[1].stairs(bottom + share, edges, baseline=bottom, fill=True, color=colour, label=name, lw=0)
            bottom += share
        axes[1].set(xlim=(0, len(archives)), ylim=(0, 1), ylabel="share of members")
        axes[1].set_xlabel(f"archives, worst first{f'; averages of {_STEPS} groups' if grouped else ''}")
        axes[1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes[1].set_title(f"All {len(archives):,} archives")
    if archives:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(OUTCOMES))
    return figure


def confidence(survey: Survey) -> Figure:
    """Confidence of the people kept, and the best scores below the threshold."""
    counted = survey["distributions"]
    figure, axes = _panels(0, False)
    best, kept = (np.array(counted[key]) for key in ("best_scores", "confidence"))
    if best.any() or kept.any():
        bottom = np.zeros_like(best)
        for counts, colour, label in (
            (best, _ORANGE, f"best score of photos without people ({best.sum():,})"),
            (kept, _BLUE, f"people kept ({kept.sum():,})"),
        ):
            axes[0].stairs(bottom + counts, CONFIDENCE_EDGES, baseline=bottom, fill=True, color=colour, label=label)
            bottom = bottom + counts
        for threshold in sorted({each["settings"]["confidence"] for each in survey["provenance"]}):
            axes[0].axvline(threshold, color=_VERMILION, ls="--", label=f"threshold: confidence {threshold:g}")
        axes[0].legend(loc="upper right")
        axes[0].set(xlim=(0, 1), xlabel="confidence", ylabel="number per 0.01 of confidence")
        axes[0].set_ylim(0, 1.35 * float(bottom.max()))  # room for the legend
        axes[0].yaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        _say(axes[0], "No person was found, however unsure")
    axes[0].set_title("How sure the detector was")
    return figure


def crops(survey: Survey) -> Figure:
    """Height and aspect of the crops."""
    counted = survey["distributions"]
    figure = Figure(figsize=(_WIDTH, 3.6))
    axes = figure.subplots(1, 2)
    for panel, key, edges, label, title in (
        (axes[0], "heights", HEIGHT_EDGES, "height, pixels", "Height of the crops"),
        (axes[1], "aspects", ASPECT_EDGES, "width ÷ height", "Shape of the crops"),
    ):
        counts = np.array(counted[key])
        panel.set_title(title)
        if not counts.any():
            _say(panel, "There are no crops")
            continue
        panel.stairs(counts, edges, fill=True, color=_BLUE)
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter(FuncFormatter(_octave))
        panel.xaxis.set_minor_locator(NullLocator())
        used = np.flatnonzero(counts)
        panel.set_xlim(edges[max(0, used[0] - 4)], edges[min(len(edges) - 1, used[-1] + 5)])
        panel.set(xlabel=label, ylabel="crops per eighth of an octave")
        panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def people(survey: Survey) -> Figure:
    """Photos by the number of people in them."""
    counts = np.array(survey["distributions"]["people"])
    figure, axes = _panels(0, False)
    axes[0].set_title("People per photo")
    if not counts.any():
        _say(axes[0], "No photo has people")
        return figure
    most = int(np.flatnonzero(counts)[-1])
    axes[0].bar(np.arange(1, most + 1), counts[1 : most + 1], color=_BLUE, width=0.8)
    axes[0].set(xlabel="people in the photo", ylabel="photos")
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:.0f}" + ("+" if n == MOST_PEOPLE else "")))
    axes[0].yaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_xlim(0.4, max(most, 4) + 0.6)
    axes[0].grid(axis="x", visible=False)
    if (counts > 0).sum() > 1 and counts.max() > 100 * counts[counts > 0].min():
        axes[0].set_yscale("log")
        axes[0].set_ylabel("photos (logarithmic)")
    return figure


def throughput(survey: Survey) -> Figure:
    """Images per second of each archive."""
    archives = sorted(
        (each for each in survey["archives"] if each["images"]), key=lambda each: each["images_per_second"]
    )
    bars, outline = _split(archives)
    figure, axes = _panels(len(bars), bool(outline))
    _title(axes[0], "Speed", bars, archives, "slowest")
    if not archives:
        _say(axes[0], "No archive has images")
        return figure
    speeds = [each["images_per_second"] for each in bars]
    _bar_labels(axes[0], [(each["archive"], counted(each["images"], "image")) for each in bars])
    axes[0].barh(range(len(bars)), speeds, color=_BLUE, height=0.72)
    axes[0].set(xlabel="images per second of its job")
    axes[0].set_xlim(0, 1.05 * max(speeds) or 1)
    if outline:
        axes[1].hist([each["images_per_second"] for each in archives], bins=40, color=_BLUE)
        axes[1].set(xlabel="images per second", ylabel="archives", title=f"All {len(archives):,} archives with images")
        axes[1].set_xlim(left=0)
        axes[1].yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def positions(survey: Survey) -> Figure:
    """Positions of the people in the photo."""
    counts = np.array(survey["distributions"]["positions"])
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    axes.set_title("Where in the photo the people are")
    if not counts.any():
        _say(axes, "No person was found")
        return figure
    edges = np.linspace(0, 1, GRID + 1)
    # A sequential map of even lightness, which the colour-blind see as others do.
    mesh = axes.pcolormesh(edges, edges, counts, cmap="cividis", edgecolors="face", linewidth=0.5)
    axes.grid(visible=False)
    axes.invert_yaxis()
    axes.set_aspect(0.75)
    for axis, side in ((axes.xaxis, "width, from the left"), (axes.yaxis, "height, from the top")):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.set_label_text(f"centre of the box: share of the {side}")
    bar = figure.colorbar(mesh, ax=axes, label=f"people per cell of 1/{GRID} × 1/{GRID}")
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


PLOTS: dict[str, Callable[[Survey], Figure]] = {
    draw.__name__: draw for draw in (outcomes, confidence, crops, people, throughput, positions)
}


def _split(archives: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The archives with a bar of their own, and all archives if some have none."""
    return (archives, []) if len(archives) <= MOST_BARS else (archives[:WORST_BARS], archives)


def _panels(bars: int, outline: bool) -> tuple[Figure, list[Axes]]:
    """A figure with room for `bars` horizontal bars, and for an `outline` of all archives below them."""
    heights = [max(3.2, _BAR * bars + 1.0) if bars > 8 or not bars else _BAR * bars + 1.6, *([2.6] if outline else [])]
    figure = Figure(figsize=(_WIDTH, sum(heights)))
    return figure, figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0].tolist()


def _title(axes: Axes, title: str, bars: Sequence[Any], archives: Sequence[Any], which: str) -> None:
    axes.set_title(title if len(bars) == len(archives) else f"{title}: the {len(bars)} {which} archives")


def _stack_bars(axes: Axes, archives: list[dict[str, Any]]) -> None:
    if not archives:
        _say(axes, "There are no archives")
        return
    _bar_labels(axes, [(each["archive"], counted(each["members"], "member")) for each in archives])
    left = np.zeros(len(archives))
    for (name, colour), share in zip(OUTCOMES.values(), _shares(archives), strict=True):
        axes.barh(range(len(archives)), share, left=left, color=colour, ec=_PAPER, lw=0.6, label=name, height=0.72)
        left += share
    axes.set(xlim=(0, 1), xlabel="share of the archive's members")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _shares(archives: list[dict[str, Any]]) -> np.ndarray:
    """The share of each outcome in each archive: (outcomes, archives)."""
    counts = np.array([[each[key] for each in archives] for key in OUTCOMES], float)
    shares: np.ndarray = counts / np.maximum(counts.sum(axis=0), 1)
    return shares


def _bar_labels(axes: Axes, labels: list[tuple[str, str]]) -> None:
    """Writes each label's name on the left of its bar and its note on the right; the first one on top."""
    axes.set_yticks(range(len(labels)), [shortened(name) for name, _ in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(labels)), [note for _, note in labels])
    right.tick_params(length=0)
    right.spines[:].set_visible(False)


def _say(axes: Axes, sentence: str) -> None:
    """Shows `sentence` instead of a plot."""
    axes.text(0.5, 0.5, sentence, ha="center", va="center", transform=axes.transAxes, size=12)
    axes.set_axis_off()


def _octave(value: float, _: object) -> str:
    return f"{value:g}" if value >= 1 else f"1/{1 / value:g}"


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser will find a font that has it
        figure.savefig(path, format="svg", metadata={"Date": None})
    swapped = "".join(
        f'[style*="{key}: {light}"]{{{key}:{dark}!important}}'
        for light, dark in _DARK.items()
        for key in ("fill", "stroke")
    )
    svg = path.read_text(encoding="utf-8")
    style = f"<style>@media (prefers-color-scheme:dark){{{swapped}}}</style>"
    path.write_text(svg.replace("<defs>", f"<defs>{style}", 1), encoding="utf-8")
