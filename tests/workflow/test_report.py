"""The report, made by the real snakemake and opened in a browser."""

from __future__ import annotations

import base64
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.browser import SECTIONS, Report, browser, browser_page
from helpers.files import make_zip, read_csv
from helpers.once import once_per_run
from helpers.project import ROOT
from helpers.results import Photo, failed, people, publish, without
from helpers.workflow import Workflow
from zipcrop.report import pages, plots
from zipcrop.report.pictures import Pictures
from zipcrop.report.survey import survey
from zipcrop.results import summary

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PLOTS = 6
LISTS = [
    "Almost people",
    "Duplicates",
    "Failures",
    "Least sure people",
    "Most extreme shapes",
    "Smallest crops",
    "Very many people in one photo",
]
ALL_PICTURES = {"survey", "plot", "contact_sheets", "pages", "export_coco"}
MEGABYTES = 1_000_000


@pytest.fixture
def pictured(workflow: Workflow) -> Workflow:
    """A workflow that has run once, pictures and exports included."""
    workflow.omitted = ()
    assert set(workflow.jobs()) == ALL_PICTURES
    return workflow


def finished(folder: Path, archives: dict[str, list[Photo] | None]) -> Workflow:
    """A workflow whose crop jobs have left results for `archives`, as far as Snakemake can tell."""
    workflow = Workflow.create(folder, omitted=())
    for archive in archives:
        make_zip(folder / f"raw_zips/{archive}.zip", [])
    assert set(Workflow(folder).jobs("--until", "prepare_model")) == {"prepare_model"}
    publish(folder / "output", archives)
    return workflow


def make_report(workflow: Workflow) -> Path:
    result = workflow.run("--report", "report.html")
    assert result.returncode == 0, result.stdout
    return workflow.folder / "report.html"


COUNTS = {
    "members",
    "images",
    "person_images",
    "no_person_images",
    "rejected_images",
    "failed",
    "skipped",
    "crops",
    "duplicates",
    "bytes",
}
_PHOTOS = os.environ.get("ZIPCROP_PHOTOS")
"""A folder of archives with photos of the developer's own, which cannot be in the project."""

# -- Runs of all kinds, each with its report ------------------------------------------------------------------------
Archives = dict[str, list[Photo] | None]
UNUSUAL: dict[str, Archives] = {
    "nobody": {"nobody": [without("a.jpg", 0.1), without("b.jpg")]},
    "failures": {"failures": [failed("a.jpg"), failed("b </script>.jpg", "odd </script>")], "broken": None},
    "everybody": {"everybody": [people("a.jpg", 0.9)]},
    "odd names": {
        "a < script": [people("a.jpg", 0.9)],
        "only photos": [without("b.jpg", 0.2)],
        "empty": [],
        " ".join(f"word{i}" for i in range(24)): [people("a.jpg", 0.8), without("b.jpg", 0.1)],
    },
}


def very_many() -> Archives:
    return {
        f"2024/backup of the phone of aunt Gertrude ({i})": [
            *(people(f"IMG_{i}_{k:04d}.jpg", 0.3 + (i + k) % 60 / 100, 0.27) for k in range(60)),
            *(without(f"IMG_{i}_{100 + k}.jpg", 0.24 - k / 200) for k in range(30)),
            *(failed(f"IMG_{i}_{200 + k}.jpg") for k in range(i % 11)),
        ]
        for i in range(200)
    }


def run_with_pictures(folder: Path, kind: str, prepared: Path) -> None:
    """Leaves in the empty `folder` a run of that kind, and its report."""
    if kind == "small":
        shutil.copytree(prepared, folder, symlinks=True, dirs_exist_ok=True)
        workflow = Workflow(folder, omitted=())
        assert set(workflow.jobs()) == ALL_PICTURES
    elif kind in ("demo", "photos"):
        if kind == "demo":
            subprocess.run([sys.executable, ROOT / "demo/make_archives.py", folder / "raw_zips"], check=True)
        else:
            (folder / "raw_zips").symlink_to(Path(str(_PHOTOS)).resolve())
        workflow = Workflow.create(folder, omitted=())
        assert set(workflow.jobs()) >= ALL_PICTURES
    else:
        workflow = finished(folder, very_many() if kind == "very many" else UNUSUAL[kind])
        assert set(workflow.jobs()) == ALL_PICTURES
    make_report(workflow)


@pytest.fixture(scope="module", params=["small", *UNUSUAL, "very many", "demo", *(["photos"] if _PHOTOS else [])])
def run(request: pytest.FixtureRequest, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A run, with its report in `report.html`."""
    kind = str(request.param)
    make = functools.partial(run_with_pictures, kind=kind, prepared=prepared)
    return Workflow(once_per_run(tmp_path_factory, f"report of {kind}", make), omitted=())


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture
def report(run: Workflow, chromium: Browser) -> Iterator[Report]:
    """The run's report in a browser, which has nothing to complain of whatever is shown."""
    with browser_page(chromium) as page:
        report = Report(page, run.folder / "report.html")
        yield report
        assert report.complaints == []


@pytest.fixture
def table(run: Workflow) -> list[dict[str, str]]:
    """The run's summary."""
    return read_csv(run.output / "summary.csv")


@pytest.fixture
def total(table: list[dict[str, str]]) -> dict[str, int]:
    """Of all archives together."""
    return {key: sum(int(row[key]) for row in table) for key in table[0] if key in COUNTS}


@pytest.fixture
def sheets(total: dict[str, int]) -> dict[str, str]:
    """The folders below `summary/sheets` that have something to show, and how the report calls them."""
    kinds = {"crops": ("Crops", "person_images"), "photos": ("Photos without people", "no_person_images")}
    return {folder: label for folder, (label, key) in kinds.items() if total[key]}


# -- Promises of a report -------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_overview_has_the_numbers_of_the_summary(report: Report, total: dict[str, int]) -> None:
    assert report.can_reach_top(report.page.get_by_role("heading", name="Overview"))
    overview = re.sub(r"(?<=\d),(?=\d)", "", report.overview)
    for label, key in (
        ("photos", "images"),
        ("with people", "person_images"),
        ("without people", "no_person_images"),
        ("rejected", "rejected_images"),
        ("failed", "failed"),
        ("skipped", "skipped"),
        ("duplicates", "duplicates"),
    ):
        assert re.search(rf"^{label}\s+{total[key]}\b", overview, re.MULTILINE), (label, overview)
    crops = f"{total['crops']} {'crop' if total['crops'] == 1 else 'crops'}"
    assert re.search(rf"which gave {crops}$", overview, re.MULTILINE)
    assert "System Message" not in report.page.content()


@pytest.mark.slow
def test_the_menu_has_a_section_of_sheets_where_there_are_any(report: Report, sheets: dict[str, str]) -> None:
    assert report.sections == [section for section in SECTIONS if sheets or not section.startswith("3")]


@pytest.mark.slow
def test_the_table_of_archives_is_the_summary_worst_first(
    report: Report, table: list[dict[str, str]], total: dict[str, int]
) -> None:
    assert report.entries("1 Archives") == ["All archives, to sort and to search", "summary.csv, to download"]
    page = report.show_page("All archives")
    page.locator("table tbody tr").first.wait_for()
    rows = [row.split("\t") for row in page.locator("#archives tbody tr").all_inner_texts()]
    headings = [each.replace(" ", "_") for each in page.locator("#archives thead th").all_inner_texts()]
    shown = [dict(zip(headings, row, strict=True)) for row in rows]
    by_archive = {row["archive"]: row for row in table}
    assert len(shown) == min(25, len(table))
    for row in shown:
        for key, value in row.items():
            if key in COUNTS | {"archive"}:
                assert value == by_archive[row["archive"]][key], (row, key)
    shares = [int(by_archive[row["archive"]]["failed"]) / max(1, int(row["members"])) for row in shown]
    assert shares == sorted(shares, reverse=True)
    for key, sum_of_all in total.items():
        assert page.locator(f"[data-total={key}]").inner_text().replace(",", "") == str(sum_of_all)


@pytest.mark.slow
def test_the_summary_can_be_downloaded(run: Workflow) -> None:
    data = base64.b64encode((run.output / "summary.csv").read_bytes())
    assert data.decode() in (run.folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_plot_is_shown(report: Report) -> None:
    entries = report.entries("2 Plots")
    assert len(entries) == PLOTS
    for entry in entries:
        picture = report.show(entry)
        picture.wait_for()
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 400
        assert report.can_reach_top(picture)


@pytest.mark.slow
def test_every_plot_has_a_caption(report: Report) -> None:
    for entry in report.entries("2 Plots"):
        report.entries("2 Plots")
        caption = report.caption(entry)
        assert len(caption) > 100
        assert "System Message" not in caption


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["crops", "photos"])
def test_every_sheet_is_shown_whole(folder: str, report: Report, sheets: dict[str, str], run: Workflow) -> None:
    files = sorted((run.output / "summary/sheets" / folder).glob("*.jpg"))
    assert bool(files) == (folder in sheets)
    if not files:
        return
    menu = ["3 Contact sheets", sheets[folder]] if len(sheets) > 1 else ["3 Contact sheets"]
    entries = report.entries(*menu)
    assert len(entries) == len(files)
    for entry, file in zip(entries, files, strict=True):
        assert entry.startswith(file.stem)
        picture = report.show(entry)
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1280
        box = picture.bounding_box()
        assert box is not None
        assert box["width"] > 500, entry  # the menu leaves room for it
        assert file.stat().st_size <= 0.21 * MEGABYTES


@pytest.mark.slow
def test_every_list_says_what_to_change_and_shows_all_its_pictures(report: Report) -> None:
    assert report.entries("4 To look at twice") == LISTS
    for entry in LISTS:
        page = report.show_page(entry)
        assert page.locator("h1").inner_text() == entry
        assert "What to change" in page.locator("body").inner_text()
        broken = page.evaluate(
            "Promise.all([...document.images].map(image => image.decode().then(() => 0, () => 1)))"
            ".then(each => each.reduce((a, b) => a + b, 0))"
        )
        assert broken == 0


@pytest.mark.slow
def test_the_list_of_failures_has_them_all(report: Report, total: dict[str, int]) -> None:
    report.entries("4 To look at twice")
    page = report.show_page("Failures")
    if total["failed"]:
        page.locator("#failures tbody tr").first.wait_for()
    assert page.locator("#failures tbody tr").count() == min(25, total["failed"])


@pytest.mark.slow
def test_the_provenance_names_archives_and_weights(report: Report, table: list[dict[str, str]]) -> None:
    report.entries("5 Provenance")
    provenance = report.show_page("Weights").locator("body").inner_text()
    for row in table:
        assert row["fingerprint"] in provenance
    assert re.search(r"sha256 of the weights\s+[0-9a-f]{64}\b", provenance)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["very many"], indirect=True)
def test_two_hundred_archives_stay_small_and_legible(run: Workflow, report: Report) -> None:
    assert (run.folder / "report.html").stat().st_size < 30 * MEGABYTES
    overview = " ".join(report.overview.split())
    assert "left out are crops of the other 170 and photos of the other 170" in overview
    for plot in (run.output / "summary/plots").glob("*.svg"):
        report.page.goto(plot.as_uri())
        assert report.page.evaluate(_OVERLAPS) == [], plot.name


@pytest.mark.slow
@pytest.mark.parametrize("run", ["small"], indirect=True)
def test_a_report_leaves_nothing_to_be_made_again(run: Workflow) -> None:
    assert run.jobs("-n") == {}


# Pairs of texts whose rectangles share more than a pixel on each axis.
_OVERLAPS = """() => {
    const texts = [...document.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
    const share = (a, b, low, high) => Math.min(a[high], b[high]) - Math.max(a[low], b[low]);
    return texts.flatMap(([name, a], i) => texts.slice(i + 1)
        .filter(([_, b]) => share(a, b, "left", "right") > 1 && share(a, b, "top", "bottom") > 1)
        .map(([other]) => [name, other]));
}"""


def test_overlaps_are_seen(tmp_path: Path, chromium: Browser) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><text y="20">one</text><text x="5" y="{}">two</text></svg>'
    for y, found in ((22, [["one", "two"]]), (60, [])):
        (tmp_path / "a.svg").write_text(svg.format(y))
        with browser_page(chromium) as page:
            page.goto((tmp_path / "a.svg").as_uri())
            assert page.evaluate(_OVERLAPS) == found


def test_in_the_dark_paper_is_dark_and_ink_light(tmp_path: Path, chromium: Browser) -> None:
    publish(tmp_path, {"a": [people("a.jpg", 0.9), without("b.jpg", 0.2)]})
    found = survey(tmp_path, summary.read(tmp_path / "summary.csv"), 5, 5)
    plots.draw_all(found, tmp_path)
    with Pictures(1, 60, 100) as pictures:
        page_of_crops = dict(pages.galleries(found, tmp_path, pictures))["unsure"]
    (tmp_path / "page.html").write_text(page_of_crops, encoding="utf-8")
    for dark in (False, True):
        with browser_page(chromium, dark=dark) as page:
            page.goto((tmp_path / "outcomes.svg").as_uri())
            paper, ink = _lightness(page, "#patch_1 path", "fill"), _lightness(page, "text", "fill")
            assert (paper < 60 and ink > 200) if dark else (paper > 240 and ink < 60)
            page.goto((tmp_path / "page.html").as_uri())
            paper, ink = (_lightness(page, "body", key) for key in ("backgroundColor", "color"))
            assert (paper < 60 and ink > 200) if dark else (paper > 240 and ink < 60)


def _lightness(page: Page, selector: str, key: str) -> int:
    colour: str = page.locator(selector).first.evaluate(f"each => getComputedStyle(each).{key}")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) // 3


@pytest.mark.slow
def test_settings_of_the_report_remake_pictures_and_no_archive(pictured: Workflow) -> None:
    assert pictured.jobs() == {}
    sheets = {path: path.read_bytes() for path in (pictured.folder / "output/summary/sheets").rglob("*.jpg")}
    assert sheets
    assert pictured.jobs(config=["report={seed: 7}"]) == {"contact_sheets": 1}
    assert set(pictured.jobs("-n", config=["report={seed: 7, list_length: 3}"])) == ALL_PICTURES - {"export_coco"}
    assert pictured.jobs(config=["report={seed: 7, sheets: 0}"]) == {"contact_sheets": 1}
    assert not list((pictured.folder / "output/summary/sheets").rglob("*.jpg"))
