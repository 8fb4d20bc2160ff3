from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest
from docutils.core import publish_parts

from helpers.browser import SECTIONS
from helpers.project import ROOT
from helpers.results import Photo, failed, people, publish, without
from zipcrop import configuration
from zipcrop.report import caption, survey_file
from zipcrop.report.survey import survey
from zipcrop.results import summary


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


CAPTIONS = sorted((ROOT / "workflow/report").glob("*.rst"))
RUNS: dict[str, dict[str, list[Photo] | None]] = {
    "nothing": {"a": [], "b": None},
    "nobody": {"a": [without("x.jpg", 0.2), without("y.jpg")]},
    "one": {"a": [people("x.jpg", 0.27), failed("y.jpg"), without("z.jpg", 0.2)]},
    "one failed": {"a": [failed("x.jpg")]},
    "many": {f"a{i}": [people(f"{k}.jpg", *[0.9] * 5) for k in range(3)] + [failed("x.jpg")] for i in range(50)},
}


@pytest.mark.parametrize("run", RUNS)
def test_captions_are_right_for_any_run(tmp_path: Path, run: str) -> None:
    publish(tmp_path, RUNS[run])
    survey_file.write(survey(tmp_path, summary.read(tmp_path / "summary.csv"), 5, 5), tmp_path / "survey.json")
    figures = caption.figures(tmp_path / "survey.json")
    schema = configuration.load_schema(ROOT / "workflow/schemas/config.schema.yaml")
    config = {**configuration.complete({}, schema), "run": figures}
    sections = [
        *SECTIONS[:2],
        *([SECTIONS[2]] if figures["crops"] or figures["no_person_images"] else []),
        *SECTIONS[3:],
    ]
    # As Snakemake renders them.
    links = "\n\n" + "".join(f".. _{section}: there\n" for section in sections)
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    assert len(CAPTIONS) == 18
    for path in CAPTIONS:
        text = environment.from_string(path.read_text(encoding="utf-8")).render(
            snakemake=SimpleNamespace(config=config), categories=[SimpleNamespace(name=each) for each in sections]
        )
        html = publish_parts(text + links, writer="html", settings_overrides={"halt_level": 2})["body"]
        shown = " ".join(re.sub(r"<[^>]+>", "", html).split())
        assert shown
        assert not re.search(r"\b1 (archive|member|photo|failure|crop|person)s|\bNone\b|\bnan\b|\binf\b", shown), (
            path.name
        )
