from __future__ import annotations

import os
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from helpers.project import WEIGHTS
from helpers.results import Photo, failed, people, publish, without
from zipcrop.detect.model import sha256
from zipcrop.report import pages, thumbnail
from zipcrop.report.pictures import Pictures
from zipcrop.report.survey import survey
from zipcrop.results import summary

UGLY = '<script>alert("1")</script> &amp; {x}.jpg'


def write(tmp_path: Path, archives: dict[str, list[Photo] | None], list_length: int = 24) -> dict[str, str]:
    publish(tmp_path, archives)
    found = survey(tmp_path, summary.read(tmp_path / "summary.csv"), list_length, 3)
    with Pictures(2, 60, 100) as pictures:
        return dict(pages.all_pages(found, tmp_path, pictures))


@pytest.fixture
def written(tmp_path: Path) -> dict[str, str]:
    scores = [0.9, 0.8, 0.7, 0.6, 0.5]
    return write(
        tmp_path,
        {
            "a": [people("x.jpg", 0.9, crc32=5), without("empty.jpg", 0.2), *(failed(f"{i}.jpg") for i in range(4))],
            "b & c": [people("same.jpg", 0.3, crc32=5), people("crowd.jpg", *scores)],
        },
        list_length=2,
    )


def text(page: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", page))


def test_all_pages_are_there_and_stand_alone(written: dict[str, str]) -> None:
    assert set(written) == {"archives", "provenance", "failures", "duplicates", *pages.GALLERIES}
    for page in written.values():
        assert page.startswith("<!doctype html>")
        assert not re.search(r'(src|href)="(?!data:)', page.split("<script>function injectCSS")[0])


def test_no_archive_at_all_has_its_pages_too(tmp_path: Path) -> None:
    """As where no results can be read."""
    written = write(tmp_path, {})
    assert set(written) == {"archives", "provenance", "failures", "duplicates", *pages.GALLERIES}
    assert "rejected images" in text(written["archives"])


@pytest.mark.parametrize("size", [2**64 - 1, 2**52 + 1, 1000])
def test_sizes_are_shown_in_full(size: int, tmp_path: Path) -> None:
    photos = [replace(each, size=size) for each in (people("x.jpg", 0.9), failed("y.jpg"), failed("z.jpg"))]
    archives = write(tmp_path, {"a": photos, "b": [people("x.jpg", 0.9)]})["archives"]
    assert f"{3 * size + 1000:,}" in text(archives)
    shown = str(3 * size)
    # Numbers that a browser would round are texts.
    assert re.search(rf'\\"{shown}\\", ' if 3 * size > 2**53 else rf'[^"\d]{shown}, ', archives)


def test_lists_name_archive_member_and_setting(written: dict[str, str]) -> None:
    unsure = text(written["unsure"])
    assert "b & c" in unsure
    assert "same.jpg #0" in unsure
    assert "Person/b & c/same_0.jpg" in unsure
    assert "confidence 0.30" in unsure
    assert "raise confidence (now 0.25)" in unsure
    assert "2 of 7; report.list_length" in unsure
    assert written["unsure"].count('<img src="data:image/jpeg') == 2
    assert "5 people" in text(written["crowds"])
    assert "1 in all." in text(written["almost"])
    assert "empty.jpg #1" in text(written["almost"])
    assert "No_Person/" not in text(written["almost"])
    assert "lower confidence (now 0.25)" in text(written["almost"])
    assert "2 copies" in text(written["duplicates"])
    for gallery in pages.GALLERIES:
        assert "[" not in text(written[gallery]).split("What to change")[1].split("in all")[0].split(" of ")[0]


def test_failures_say_what_is_left_out(written: dict[str, str]) -> None:
    assert "3 of 4; report.failures_listed" in text(written["failures"])
    assert '<td class="number">4</td><td>cannot be decoded: damaged</td>' in written["failures"]


def test_only_an_archive_that_failed_as_a_whole_is_called_one(tmp_path: Path) -> None:
    written = write(tmp_path, {"a": [failed("")], "b": None})["failures"]
    assert r"[\"a\", \"\", 0, " in written
    assert r"[\"b\", \"(the archive itself)\", -1, " in written


def test_an_int8_model_is_part_of_the_provenance(tmp_path: Path) -> None:
    publish(tmp_path, {"a": [people("x.jpg", 0.9)], "b": [people("x.jpg", 0.9)]})
    record = (tmp_path / "manifests/a.json").read_text()
    (tmp_path / "manifests/a.json").write_text(record.replace('"quantized": ""', f'"quantized": "{"cd" * 32}"'))
    page = pages.provenance(survey(tmp_path, summary.read(tmp_path / "summary.csv"), 5, 5))
    assert page.count("sha256 of the int8 model") == page.count("cd" * 32) == 1
    assert "the same int8 model is" in page


def test_provenance_has_what_the_records_say(written: dict[str, str]) -> None:
    for wanted in (sha256(WEIGHTS), "crop.min_size", "openvino on cpu", f"{1:032x}", "b &amp; c", "raw_zips/a.zip"):
        assert wanted in written["provenance"]


def test_results_of_different_runs_are_told_apart(tmp_path: Path) -> None:
    publish(tmp_path, {"a": [people("x.jpg", 0.9)]}, confidence=0.4)
    record = (tmp_path / "manifests/a.json").read_text()
    publish(tmp_path, {"a": [people("x.jpg", 0.9)], "b": []})
    (tmp_path / "manifests/a.json").write_text(record.replace("3.11.7", "3.12.1"))
    page = pages.provenance(survey(tmp_path, summary.read(tmp_path / "summary.csv"), 5, 5))
    assert page.count("1 of the archives") == 2


def test_a_box_is_drawn_on_photos_and_not_on_crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(thumbnail, "draw_box", lambda picture, box, photo: drawn.append(tuple(box)))
    write(tmp_path, {"a": [people("x.jpg", 0.9), without("empty.jpg", 0.2)]})
    assert drawn == [(120.0, 200.0, 180.0, 400.0)]


def test_what_cannot_be_shown_leaves_the_others(tmp_path: Path) -> None:
    archives: dict[str, list[Photo] | None] = {"a": [people(f"{k}.jpg", 0.9 - k / 10) for k in range(3)]}
    assert write(tmp_path, archives)["unsure"].count('<img src="data:image/jpeg') == 3
    publish(tmp_path, archives)
    (tmp_path / "Person/a/1_0.jpg").unlink()
    os.mkfifo(tmp_path / "Person/a/1_0.jpg")
    found = survey(tmp_path, summary.read(tmp_path / "summary.csv"), 24, 3)
    with Pictures(2, 60, 100) as pictures:
        page = dict(pages.galleries(found, tmp_path, pictures))["unsure"]
    assert page.count('<img src="data:image/jpeg') == 2


def test_empty_lists_say_so(tmp_path: Path) -> None:
    written = write(tmp_path, {"a": []})
    for name, gallery in pages.GALLERIES.items():
        assert gallery.nothing in text(written[name])
    assert "Nothing failed." in written["failures"]
    assert "No photo is in more than one archive." in written["duplicates"]


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    name = UGLY.replace("/", "_")
    written = write(tmp_path, {name: [people(name, 0.3), without(f"n{name}", 0.2), failed(UGLY, UGLY)]})
    for page in written.values():
        assert '<script>alert("1")' not in page
        assert 'alt="<' not in page
    assert name in text(written["unsure"])
