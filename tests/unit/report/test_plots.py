from __future__ import annotations

import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from helpers.results import Photo, failed, people, publish, without
from zipcrop.report import plots
from zipcrop.report.survey import survey
from zipcrop.results import summary


def draw(tmp_path: Path, archives: dict[str, list[Photo] | None]) -> dict[str, str]:
    """The texts in each plot."""
    publish(tmp_path / "output", archives)
    found = survey(tmp_path / "output", summary.read(tmp_path / "output/summary.csv"), 5, 5)
    folder = tmp_path / "plots"
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.draw_all(found, folder)
    return {path.stem: texts(path) for path in folder.iterdir()}


def texts(path: Path) -> str:
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    return "\n".join("".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text"))


MIXED: dict[str, Any] = {
    "images(1)": [people("a.jpg", 0.9, 0.6), without("b.jpg", 0.2), failed("c.jpg")],
    "日本 $x_1$ <&>": [people("a.jpg", 0.4), without("b.jpg")],
    "broken": None,
}


def test_each_has_a_title_units_and_the_numbers(tmp_path: Path) -> None:
    found = draw(tmp_path, MIXED)
    assert set(found) == {"outcomes", "confidence", "crops", "people", "throughput", "positions"}
    for wanted in (
        "What became of the members",
        "share of the archive's members",
        "images(1)",
        "failed",
        "1 member",
        "3 members",
    ):
        assert wanted in found["outcomes"]
    assert "日本 $x_1$ <&>" in found["outcomes"]
    for wanted in ("people kept (3)", "photos without people (1)", "threshold: confidence 0.25"):
        assert wanted in found["confidence"]
    for wanted in ("height, pixels", "width ÷ height", "Height of the crops"):
        assert wanted in found["crops"]
    assert "people in the photo" in found["people"]
    assert "images per second" in found["throughput"]
    assert "broken" not in found["throughput"]  # it has no images
    assert "share of the width" in found["positions"]


def test_nothing_to_plot_is_said(tmp_path: Path) -> None:
    found = draw(tmp_path, {"a": [failed("x.jpg")], "b": None})
    assert "No person was found, however unsure" in found["confidence"]
    assert found["crops"].count("There are no crops") == 2
    assert "No photo has people" in found["people"]
    assert "No archive has images" in found["throughput"]
    assert "No person was found" in found["positions"]
    assert "100%" in found["outcomes"]


def test_without_archives_there_is_no_plot_but_a_word(tmp_path: Path) -> None:
    assert "There are no archives" in draw(tmp_path, {})["outcomes"]


def test_of_many_archives_the_worst_have_a_bar_and_all_are_drawn(tmp_path: Path) -> None:
    found = draw(tmp_path, {f"archive {i:02d}": [people("a.jpg", 0.5 + i / 200)] for i in range(45)})
    assert found["outcomes"].count("archive ") == plots.WORST_BARS
    assert "the 30 worst archives" in found["outcomes"]
    assert "All 45 archives" in found["outcomes"]
    assert "the 30 slowest archives" in found["throughput"]


def test_the_same_survey_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("1", "2"):
        (tmp_path / folder).mkdir()
        draw(tmp_path / folder, MIXED)
    for path in (tmp_path / "1/plots").iterdir():
        assert path.read_bytes() == (tmp_path / "2/plots" / path.name).read_bytes()
