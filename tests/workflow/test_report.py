"""The report, made by the real snakemake and opened in a browser."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page

from helpers.browser import SECTIONS, Report, browser_page
from helpers.files import make_zip, read_csv
from helpers.project import ROOT
from helpers.results import Photo, failed, people, publish, without
from helpers.workflow import Workflow
from zipcrop.report import pages, plots
from zipcrop.report.pictures import Pictures
from zipcrop.report.survey import survey
from zipcrop.results import summary

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


def check(report: Report, output: Path) -> None:
    """Looks at everything in the report, and compares its numbers with the summary."""
    table = read_csv(output / "summary.csv")
    total = {key: sum(int(row[key]) for row in table) for key in table[0] if key in COUNTS}
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
    assert re.search(
        rf"which gave {total['crops']} {'crop' if total['crops'] == 1 else 'crops'}$", overview, re.MULTILINE
    )
    assert "System Message" not in report.page.content()

    has_sheets = [each for each in ("person_images", "no_person_images") if total[each]]
    assert report.sections == [section for section in SECTIONS if has_sheets or not section.startswith("3")]

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
    for key, value in total.items():
        assert page.locator(f"[data-total={key}]").inner_text().replace(",", "") == str(value)

    entries = report.entries("2 Plots")
    assert len(entries) == PLOTS
    for entry in entries:
        picture = report.show(entry)
        picture.wait_for()
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 400
        assert report.can_reach_top(picture)
    for entry in entries:
        report.entries("2 Plots")
        caption = report.caption(entry)
        assert len(caption) > 100
        assert "System Message" not in caption

    if has_sheets:
        for folder, label, key in (
            ("crops", "Crops", "person_images"),
            ("photos", "Photos without people", "no_person_images"),
        ):
            files = sorted((output / "summary/sheets" / folder).glob("*.jpg"))
            assert bool(files) == bool(total[key])
            if not files:
                continue
            menu = ["3 Contact sheets", label] if len(has_sheets) > 1 else ["3 Contact sheets"]
            entries = report.entries(*menu)
            assert len(entries) == len(files)
            for entry, file in zip(entries, files, strict=True):
                assert entry.startswith(file.stem)
                picture = report.show(entry)
                assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1280
                box = picture.bounding_box()
                assert box is not None and box["width"] > 500, entry  # the menu leaves room for it
                assert file.stat().st_size <= 0.21 * MEGABYTES

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
        if entry == "Failures" and total["failed"]:
            page.locator("#failures tbody tr").first.wait_for()
            assert page.locator("#failures tbody tr").count() == min(25, total["failed"])

    report.entries("5 Provenance")
    provenance = report.show_page("Weights").locator("body").inner_text()
    for row in table:
        assert row["fingerprint"] in provenance
    assert re.search(r"sha256 of the weights\s+[0-9a-f]{64}\b", provenance)
    assert report.complaints == []


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


@pytest.mark.slow
def test_everything_is_there_and_its_numbers_are_those_of_the_summary(pictured: Workflow) -> None:
    path = make_report(pictured)
    with browser_page() as page:
        check(Report(page, path), pictured.folder / "output")
    table = (pictured.folder / "output/summary.csv").read_bytes()
    assert base64.b64encode(table).decode() in path.read_text(encoding="utf-8")
    # Here, since a run takes longest.
    assert pictured.jobs("-n") == {}
    assert pictured.jobs("-n", config=["report={seed: 7}"]) == {"contact_sheets": 1}


def test_in_the_dark_paper_is_dark_and_ink_light(tmp_path: Path) -> None:
    publish(tmp_path, {"a": [people("a.jpg", 0.9), without("b.jpg", 0.2)]})
    found = survey(tmp_path, summary.read(tmp_path / "summary.csv"), 5, 5)
    plots.draw_all(found, tmp_path)
    with Pictures(1, 60, 100) as pictures:
        page_of_crops = dict(pages.galleries(found, tmp_path, pictures))["unsure"]
    (tmp_path / "page.html").write_text(page_of_crops, encoding="utf-8")
    for dark in (False, True):
        with browser_page(dark=dark) as page:
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "archives",
    [
        {"nobody": [without("a.jpg", 0.1), without("b.jpg")]},
        {"failures": [failed("a.jpg"), failed("b </script>.jpg", "odd </script>")], "broken": None},
        {"everybody": [people("a.jpg", 0.9)]},
        {
            "a < script": [people("a.jpg", 0.9)],
            "only photos": [without("b.jpg", 0.2)],
            "empty": [],
            " ".join(f"word{i}" for i in range(24)): [people("a.jpg", 0.8), without("b.jpg", 0.1)],
        },
    ],
    ids=lambda archives: next(iter(archives)),
)
def test_unusual_runs_have_a_sensible_report(tmp_path: Path, archives: dict[str, list[Photo] | None]) -> None:
    workflow = finished(tmp_path, archives)
    assert set(workflow.jobs()) == ALL_PICTURES
    with browser_page() as page:
        check(Report(page, make_report(workflow)), tmp_path / "output")


@pytest.mark.slow
def test_two_hundred_archives_stay_small_and_legible(tmp_path: Path) -> None:
    archives: dict[str, list[Photo] | None] = {
        f"2024/backup of the phone of aunt Gertrude ({i})": [
            *(people(f"IMG_{i}_{k:04d}.jpg", 0.3 + (i + k) % 60 / 100, 0.27) for k in range(60)),
            *(without(f"IMG_{i}_{100 + k}.jpg", 0.24 - k / 200) for k in range(30)),
            *(failed(f"IMG_{i}_{200 + k}.jpg") for k in range(i % 11)),
        ]
        for i in range(200)
    }
    workflow = finished(tmp_path, archives)
    workflow.run()
    path = make_report(workflow)
    assert path.stat().st_size < 30 * MEGABYTES
    with browser_page() as page:
        report = Report(page, path)
        overview = " ".join(report.overview.split())
        assert "left out are crops of the other 170 and photos of the other 170" in overview
        check(report, tmp_path / "output")
        for plot in (tmp_path / "output/summary/plots").glob("*.svg"):
            page.goto(plot.as_uri())
            assert page.evaluate(_OVERLAPS) == [], plot.name


# Pairs of texts whose rectangles share more than a pixel on each axis.
_OVERLAPS = """() => {
    const texts = [...document.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
    const share = (a, b, low, high) => Math.min(a[high], b[high]) - Math.max(a[low], b[low]);
    return texts.flatMap(([name, a], i) => texts.slice(i + 1)
        .filter(([_, b]) => share(a, b, "left", "right") > 1 && share(a, b, "top", "bottom") > 1)
        .map(([other]) => [name, other]));
}"""


def test_overlaps_are_seen(tmp_path: Path) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><text y="20">one</text><text x="5" y="{}">two</text></svg>'
    for y, found in ((22, [["one", "two"]]), (60, [])):
        (tmp_path / "a.svg").write_text(svg.format(y))
        with browser_page() as page:
            page.goto((tmp_path / "a.svg").as_uri())
            assert page.evaluate(_OVERLAPS) == found


_PHOTOS = os.environ.get("ZIPCROP_PHOTOS")
"""A folder of archives with photos of the developer's own, which cannot be in the project."""


@pytest.mark.slow
@pytest.mark.parametrize("photos", [None, _PHOTOS] if _PHOTOS else [None], ids=lambda photos: photos or "demo")
def test_a_real_run_has_a_report(tmp_path: Path, photos: str | None) -> None:
    if photos is None:
        subprocess.run([sys.executable, ROOT / "demo/make_archives.py", tmp_path / "raw_zips"], check=True)
    else:
        (tmp_path / "raw_zips").symlink_to(Path(photos).resolve())
    workflow = Workflow.create(tmp_path, omitted=())
    result = workflow.run()
    assert result.returncode == 0, result.stdout
    with browser_page() as page:
        check(Report(page, make_report(workflow)), tmp_path / "output")
