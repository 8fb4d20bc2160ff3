from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.results import HEIGHT, WIDTH, failed, people, publish, without
from zipcrop.image.crop import crop_slice
from zipcrop.report import survey_file
from zipcrop.report.survey import _crop_edges, survey
from zipcrop.results import summary, tables


def of(output: Path, list_length: int = 24, failures_listed: int = 1000) -> dict[str, Any]:
    table = summary.read(output / "summary.csv")
    return survey(output, table, list_length, failures_listed)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    publish(
        tmp_path,
        {
            "good": [people("a.jpg", 0.9, 0.6), people("b.jpg", 0.8), without("c.jpg", 0.2)],
            "sad": [people("a2.jpg", 0.3), without("b2.jpg"), without("c2.jpg", 0.24), failed("d2.jpg", "too <large>")],
            "broken": None,
            "none": [without("a3.jpg", 0.06)],
        },
    )
    return tmp_path


def test_numbers_are_those_of_the_summary(mixed: Path) -> None:
    found, table = of(mixed), summary.read(mixed / "summary.csv")
    counts = ["members", "images", "person_images", "no_person_images", "rejected_images", "failed", "skipped", "crops"]
    for column in [*counts, "duplicates", "bytes"]:
        assert found["numbers"][column] == table[column].sum()
    assert found["numbers"]["seconds"] == pytest.approx(table["seconds"].sum())
    assert found["numbers"]["archives"] == 4
    assert found["numbers"]["archives_with_failures"] == 2
    assert found["numbers"]["archives_without_people"] == 2
    assert found["numbers"]["people_per_photo"] == pytest.approx(4 / 3, abs=0.01)
    assert found["numbers"]["most_people"] == 2
    assert found["numbers"]["almost"] == 3
    assert found["numbers"]["nearly_kept"] == 2  # above 0.125
    assert found["numbers"]["barely_kept"] == 0
    assert sum(found["distributions"]["confidence"]) == 4


def test_scores_are_counted_to_the_last_digit(tmp_path: Path) -> None:
    scores = [0.125, 0.1255, 0.129, 0.2]
    publish(tmp_path, {"a": [without(f"{score}.jpg", score) for score in scores] + [people("p.jpg", 0.3, 0.299, 0.26)]})
    numbers = of(tmp_path)["numbers"]
    assert (numbers["nearly_kept"], numbers["barely_kept"]) == (3, 2)


def test_each_archive_counts_by_its_own_threshold(tmp_path: Path) -> None:
    publish(tmp_path, {"a": [without("x.jpg", 0.15), people("y.jpg", 0.44)], "b": [without("x.jpg", 0.15)]})
    record = json.loads((tmp_path / "manifests/a.json").read_text())
    record["settings"]["confidence"] = 0.4
    (tmp_path / "manifests/a.json").write_text(json.dumps(record))
    numbers = of(tmp_path)["numbers"]
    assert (numbers["nearly_kept"], numbers["barely_kept"]) == (1, 1)


def test_the_worst_archives_come_first(mixed: Path) -> None:
    # By share of failures; then those without people, then those that are least sure.
    assert [each["archive"] for each in of(mixed)["archives"]] == ["broken", "sad", "none", "good"]


def test_sizes_beyond_64_bits_stay_what_they_are(tmp_path: Path) -> None:
    largest = 2**64 - 1
    photos = [replace(each, size=largest) for each in (people("x.jpg", 0.9), failed("y.jpg"), without("z.jpg"))]
    publish(tmp_path, {"a": photos, "b": [failed("x.jpg")]})
    found = of(tmp_path)
    survey_file.write(found, tmp_path / "survey.json")
    found = survey_file.read(tmp_path / "survey.json")
    assert found["numbers"]["bytes"] == 3 * largest + 1000
    assert {each["archive"]: each["bytes"] for each in found["archives"]} == {"a": 3 * largest, "b": 1000}
    assert [each["bytes"] for each in found["failures"]] == [largest, 1000]


def test_lists_hold_the_most_remarkable_of_all_archives(mixed: Path) -> None:
    picks = of(mixed, list_length=2)["picks"]
    assert [(each["archive"], each["member"]) for each in picks["almost"]] == [("sad", "c2.jpg"), ("good", "c.jpg")]
    assert picks["almost"][0]["box"] == [120, 200, 180, 400]
    assert [(each["archive"], each["member"]) for each in picks["unsure"]] == [("sad", "a2.jpg"), ("good", "a.jpg")]
    assert picks["unsure"][1]["file"] == "Person/good/a_1.jpg"


def test_small_and_extreme_go_by_the_crop(tmp_path: Path) -> None:
    boxes = {"tiny": (10.0, 10.0, 13.0, 14.0), "wide": (0.0, 5.0, 300.0, 30.0), "high": (0.0, 0.0, 20.0, 500.0)}
    publish(tmp_path, {"a": [people(f"{name}.jpg", 0.9, boxes=[box]) for name, box in boxes.items()]})
    picks = of(tmp_path)["picks"]
    assert [each["member"] for each in picks["small"]] == ["tiny.jpg", "wide.jpg", "high.jpg"]
    assert [each["member"] for each in picks["extreme"]] == ["high.jpg", "wide.jpg", "tiny.jpg"]
    assert picks["small"][0]["crop"] == [10, 10, 3, 4]


def test_crowds_name_everybody(tmp_path: Path) -> None:
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    publish(tmp_path, {"a": [people("four.jpg", *scores[:4])], "b": [people("x.jpg", 0.9), people("six.jpg", *scores)]})
    (crowd,) = of(tmp_path)["picks"]["crowds"]
    assert (crowd["archive"], crowd["member"]) == ("b", "six.jpg")
    assert [each["file"] for each in crowd["people"]] == [f"Person/b/six_{k}.jpg" for k in range(6)]
    assert [each["crop"] for each in crowd["people"]] == [[20 + 60 * k, 100, 55, 160] for k in range(6)]
    assert of(tmp_path)["numbers"]["crowded"] == 1


def test_duplicates_are_those_across_archives(tmp_path: Path) -> None:
    publish(
        tmp_path,
        {
            "a": [people("x.jpg", 0.9, crc32=7), without("twice.jpg", crc32=8), without("again.jpg", crc32=8)],
            "b": [without("y.jpg", crc32=7), failed("z.jpg"), people("other.jpg", 0.9)],
            "c": [people("w.jpg", 0.5, crc32=7)],
        },
    )
    found = of(tmp_path)
    (photo,) = found["duplicates"]
    assert [(copy["archive"], copy["member"]) for copy in photo["places"]] == [
        ("a", "x.jpg"),
        ("b", "y.jpg"),
        ("c", "w.jpg"),
    ]
    assert (photo["copies"], photo["file"]) == (3, "Person/a/x_0.jpg")
    assert (found["numbers"]["shared_photos"], found["numbers"]["shared_copies"]) == (1, 3)
    assert found["numbers"]["duplicates"] == 3


def test_one_bad_archive_hides_no_other_failure(tmp_path: Path) -> None:
    publish(tmp_path, {"bad": [failed(f"{i}.jpg") for i in range(50)], "other": [failed("x.jpg", "odd")], "no": None})
    found = of(tmp_path, failures_listed=5)
    assert [(each["archive"], each["member"]) for each in found["failures"]] == [
        ("bad", "0.jpg"),
        ("bad", "1.jpg"),
        ("bad", "2.jpg"),
        ("other", "x.jpg"),
        ("no", ""),
    ]
    assert found["reasons"] == [
        ("cannot be decoded: damaged", 50),
        ("odd", 1),
        ("is not a ZIP archive", 1),
    ]


def test_of_very_many_failures_the_same_are_listed(tmp_path: Path) -> None:
    """As many as make it forget most of them on the way."""
    publish(tmp_path, {f"a{i:02d}": [failed(f"{k}.jpg") for k in range(3)] for i in range(40)})
    found = of(tmp_path, failures_listed=5)["failures"]
    assert [(each["archive"], each["member"]) for each in found] == [(f"a{i:02d}", "0.jpg") for i in range(5)]
    assert list(found[0]) == ["archive", "member", "member_index", "bytes", "reason"]


@pytest.mark.parametrize(
    "archives",
    [
        {},
        {"a": []},
        {"a": None},
        {"a": [failed("x.jpg")]},
        {"a": [without("x.jpg")]},
        {"a": [people("x.jpg", 0.9)]},
    ],
)
def test_anything_can_be_surveyed_and_written(tmp_path: Path, archives: dict[str, Any]) -> None:
    publish(tmp_path, archives)
    found = of(tmp_path)
    survey_file.write(found, tmp_path / "survey.json")
    # As text, since JSON has no tuples.
    assert json.dumps(survey_file.read(tmp_path / "survey.json")) == json.dumps(found)


def test_names_stay_text(tmp_path: Path) -> None:
    publish(tmp_path, {"001": [people("NA", 0.9)], "NA": [without("1", 0.2)]})
    found = of(tmp_path)
    assert {each["archive"] for each in found["archives"]} == {"001", "NA"}
    assert found["picks"]["unsure"][0]["member"] == "NA"


@pytest.mark.parametrize("padding", [0.0, 0.1, 3.0])
def test_crop_sizes_are_those_that_are_cut(tmp_path: Path, padding: float) -> None:
    corners = np.random.default_rng(1).uniform(0, 1, (200, 2, 2))
    drawn = np.round(np.sort(corners, axis=1).reshape(200, 4) * [WIDTH, HEIGHT, WIDTH, HEIGHT], 3)
    boxes = [tuple(box) for box in drawn if min(box[2] - box[0], box[3] - box[1]) > 2]
    publish(tmp_path, {"a": [people(f"{i}.jpg", 0.9, boxes=[box]) for i, box in enumerate(boxes)]})
    edges = _crop_edges(tables.read_numbers(tmp_path, "a"), padding)
    cut = [crop_slice(box, padding, WIDTH, HEIGHT) for box in boxes]
    assert edges["crop_x"].tolist() == [columns.start for _, columns in cut]
    assert edges["crop_y"].tolist() == [rows.start for rows, _ in cut]
    assert edges["crop_width"].tolist() == [columns.stop - columns.start for _, columns in cut]
    assert edges["crop_height"].tolist() == [rows.stop - rows.start for rows, _ in cut]


def test_no_file_of_others_is_shown(tmp_path: Path) -> None:
    scores = [0.9, 0.8, 0.7, 0.6, 0.5]
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    archive = [*(people(name, *scores, crc32=1) for name in names), without("e.jpg", 0.2, crc32=1)]
    publish(tmp_path, {"x": archive, "y": [people("f.jpg", 0.9, crc32=1)]})
    (tmp_path / "victim.jpg").touch()
    crops = tmp_path / "Person/x"
    (crops / "d_0.jpg").unlink()
    (crops / "d_0.jpg").symlink_to(tmp_path / "victim.jpg")
    path = tmp_path / "manifests/x.csv"
    text = path.read_text().replace("Person/x/a_0", "Person/y/f_0").replace("Person/x/b_0", "Person/x/../../victim")
    path.write_text(text.replace("Person/x/c_0.jpg", str(tmp_path / "victim.jpg")).replace("No_Person/x/e", "/etc/e"))
    found = of(tmp_path)
    crowds = {each["member"]: each for each in found["picks"]["crowds"]}
    assert [[person["file"] for person in crowds[name]["people"]][:2] for name in names] == [
        ["", f"Person/x/{name[0]}_1.jpg"] for name in names
    ]
    assert [each["file"] for each in found["picks"]["almost"]] == [""]
    assert {each["file"] for each in found["picks"]["small"] if each["member"] != "f.jpg"} == {
        "",
        *(f"Person/x/{name[0]}_{k}.jpg" for name in names for k in range(1, 5)),
    }
    (photo,) = found["duplicates"]
    assert photo["file"] == "Person/y/f_0.jpg"
