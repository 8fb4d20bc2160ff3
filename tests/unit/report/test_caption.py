from __future__ import annotations

from pathlib import Path

import pytest
from docutils.core import publish_parts

from results import failed, people, publish
from zipcrop import summary
from zipcrop.report import caption, survey_file
from zipcrop.report.survey import survey


def test_there_are_no_figures_before_the_first_run(tmp_path: Path) -> None:
    assert caption.figures(tmp_path / "survey.json") == {}
    (tmp_path / "survey.json").write_text('{"numbers": {"crops": 1')
    assert caption.figures(tmp_path / "survey.json") == {}


@pytest.mark.parametrize("text", ["{}", "[]", '{"version": 1, "numbers": {"crops": 1}}'])
def test_the_survey_of_another_release_stops_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "survey.json").write_text(text)
    assert caption.figures(tmp_path / "survey.json") == {}


def test_names_and_reasons_come_through_restructuredtext_as_they_are(tmp_path: Path) -> None:
    reason = "**odd** `name`_ |x| <b>é\\ *\n_a_ 日本"
    publish(tmp_path, {"a": [people("x.jpg", 0.9), failed("y.jpg", reason)]})
    survey_file.write(survey(tmp_path, summary.read(tmp_path / "summary.csv"), 5, 5), tmp_path / "survey.json")
    run = caption.figures(tmp_path / "survey.json")
    assert (run["crops"], run["failed"], run["time"]) == (1, 1, "2 s")
    html = publish_parts(run["reasons"][0][0], writer="html")["body"]
    assert html == f"<p>{reason.replace('<', '&lt;').replace('>', '&gt;').replace(chr(10), ' ')}</p>\n"
