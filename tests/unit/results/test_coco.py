from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import evaluate
from helpers.results import FAILED, SKIPPED, UGLY_NAMES, no_person, person, publish, rejected
from zipcrop.results import coco, exports, layout


def export(output: Path) -> dict[str, Any]:
    coco.write(output, exports.archives(output))
    written: dict[str, Any] = json.loads(layout.coco(output).read_text(encoding="utf-8"))
    return written


def load(output: Path) -> COCO:
    """The export as pycocotools reads it."""
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(layout.coco(output))


def test_photos_and_people(tmp_path: Path) -> None:
    publish(
        tmp_path,
        {
            "images(1)": [
                ("sub/x.jpg", person((0.1, 0.2, 0.4, 0.5), (10.5, 20.0, 110.625, 220.25))),
                ("notes", SKIPPED),
            ],
            "broken": None,
            "b/c": [("y.jpg", FAILED), ("y.jpg", no_person((30, 20))), ("z.jpg", rejected())],
        },
    )
    exported = export(tmp_path)
    assert exported["categories"] == [{"id": 1, "name": "person", "supercategory": "person"}]
    assert exported["images"] == [
        {
            "id": 1,
            "width": 640,
            "height": 480,
            "file_name": "images(1)/sub/x.jpg",
            "archive": "images(1)",
            "member": "sub/x.jpg",
            "member_index": 0,
            "status": "person",
        },
        {
            "id": 2,
            "width": 30,
            "height": 20,
            "file_name": "b/c/y.jpg",
            "archive": "b/c",
            "member": "y.jpg",
            "member_index": 1,
            "status": "no_person",
        },
        {
            "id": 3,
            "width": 640,
            "height": 480,
            "file_name": "b/c/z.jpg",
            "archive": "b/c",
            "member": "z.jpg",
            "member_index": 2,
            "status": "rejected",
        },
    ]
    same = {"image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": []}
    assert exported["annotations"] == [
        {"id": 1, "bbox": [0.1, 0.2, 0.3, 0.3], "area": 0.09, "score": 0.9, **same},
        {"id": 2, "bbox": [10.5, 20.0, 100.125, 200.25], "area": 20050.031, "score": 0.89, **same},
    ]


def test_members_of_the_same_name_are_kept_apart(tmp_path: Path) -> None:
    names = ["DCIM/x.jpg", "DCIM/x.jpg", "./DCIM//x.jpg", "DCIM/x.png", "x~5", "x", "x", "", ""]
    publish(tmp_path, {"a": [(name, no_person()) for name in names], "b": [("x", no_person())]})
    found = [(image["file_name"], image["member"]) for image in export(tmp_path)["images"]]
    assert found == [
        ("a/DCIM/x.jpg", "DCIM/x.jpg"),
        ("a/DCIM/x~1.jpg", "DCIM/x.jpg"),
        ("a/DCIM/x~2.jpg", "./DCIM//x.jpg"),
        ("a/DCIM/x.png", "DCIM/x.png"),
        ("a/x~5", "x~5"),
        ("a/x", "x"),
        ("a/x~6", "x"),
        ("a/", ""),
        ("a/~8", ""),
        ("b/x", "x"),
    ]


def test_pycocotools_loads_it(tmp_path: Path) -> None:
    members = [(name, person((1.0, 2.0, 30.0, 40.0), (3.0, 4.0, 50.0, 60.0))) for name in UGLY_NAMES]
    publish(tmp_path, {"a": [*members, ("x.jpg", no_person())], "NA": members})
    assert coco.write(tmp_path, exports.archives(tmp_path)) == exports.Counts(17, 32)
    loaded = load(tmp_path)
    images = loaded.loadImgs(loaded.getImgIds())
    assert [image["member"] for image in images] == [*UGLY_NAMES, "x.jpg", *UGLY_NAMES]
    assert [len(loaded.getAnnIds(image["id"])) for image in images] == [2] * 8 + [0] + [2] * 8
    assert len(loaded.getAnnIds(catIds=loaded.getCatIds(["person"]))) == 32


@pytest.mark.parametrize("archives", [{"a": [("x.jpg", no_person())]}, {"a": [("x", SKIPPED)]}, {"a": None}])
def test_without_people_and_without_photos(tmp_path: Path, archives: dict[str, Any]) -> None:
    publish(tmp_path, archives)
    assert export(tmp_path)["annotations"] == []
    assert len(load(tmp_path).getImgIds()) == (archives == {"a": [("x.jpg", no_person())]})


def test_file_names_stay_below_the_archive(tmp_path: Path) -> None:
    names = ["/etc/x.jpg", "../../x.jpg", "a/./b//x.jpg", "a..b/..x.jpg"]
    publish(tmp_path, {"a": [(name, no_person()) for name in names]})
    assert [image["file_name"] for image in export(tmp_path)["images"]] == [
        "a/etc/x.jpg",
        "a/x.jpg",
        "a/a/b/x.jpg",
        "a/a..b/..x.jpg",
    ]


def test_same_results_same_bytes_in_any_locale(tmp_path: Path) -> None:
    publish(tmp_path, {"Größe": [(name, person((1.0, 2.0, 30.0, 40.0))) for name in UGLY_NAMES]})
    export(tmp_path)
    before = layout.coco(tmp_path).read_bytes()
    export(tmp_path)
    assert layout.coco(tmp_path).read_bytes() == before
    assert before.isascii()
    assert [path.name for path in (tmp_path / "summary").iterdir()] == ["annotations.coco.json"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    publish(tmp_path, {"a": [("x.jpg", no_person())]})
    before = export(tmp_path)
    with pytest.raises(FileNotFoundError):
        coco.write(tmp_path, ["a", "gone"])
    assert json.loads(layout.coco(tmp_path).read_text()) == before
    assert [path.name for path in (tmp_path / "summary").iterdir()] == ["annotations.coco.json"]


def random_boxes(generator: np.random.Generator, count: int) -> np.ndarray:
    corner = generator.uniform(0, 400, (count, 2))
    return np.hstack([corner, corner + generator.uniform(20, 80, (count, 2))]).round(3)


@pytest.mark.parametrize("seed", range(3))
def test_evaluation_of_the_export_equals_that_of_the_manifests(seed: int, tmp_path: Path) -> None:
    """Also with ties, photos without people, and one with more people than count."""
    generator = np.random.default_rng(seed)
    truth: dict[tuple[str, str], np.ndarray] = {}
    archives: dict[str, list[tuple[str, Any]]] = {"images(1)": [], "b": []}
    for number in range(60):
        true = random_boxes(generator, int(generator.integers(0, 6)))
        near = (true + generator.normal(0, 4, true.shape)).round(3)[generator.random(len(true)) < 0.8]
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        boxes = np.vstack([near, random_boxes(generator, 150 if number == 0 else int(generator.integers(0, 4)))])
        scores = np.sort(generator.random(len(boxes)).round(2))[::-1]
        boxes = boxes[generator.permutation(len(boxes))]
        archive, member = ["images(1)", "b"][number % 2], f"{number}.jpg"
        found = person(*map(tuple, boxes.tolist()), scores=scores.tolist()) if len(boxes) else no_person()
        archives[archive].append((member, found))
        truth[archive, member] = true
    for archive, members in archives.items():
        members += [("small.jpg", rejected()), ("x", SKIPPED)]
        truth[archive, "small.jpg"] = random_boxes(generator, 1)
    publish(tmp_path, archives, confidence=0.01)
    export(tmp_path)

    detections = evaluate.read_detections(tmp_path)
    # In the export's order, which decides which of two photos' equal scores comes first.
    photos = [(archive, member) for archive, members in archives.items() for member, _ in members if member != "x"]
    measured = evaluate.measure(detections, {photo: truth[photo] for photo in photos}, 0.25)
    by_threshold = 100 * coco_average_precision(load(tmp_path), truth)
    assert 10 < measured["AP50"] < 90
    assert (measured["AP50"], measured["AP50-95"]) == pytest.approx((by_threshold[0], by_threshold.mean()), abs=1e-9)


def coco_average_precision(found: COCO, truth: dict[tuple[str, str], np.ndarray]) -> np.ndarray:
    """AP by IoU threshold of the export, as pycocotools measures it, with the limits that it has by default."""
    number = {(image["archive"], image["member"]): image["id"] for image in found.dataset["images"]}
    annotations = [
        {"image_id": number[key], "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
        for key, boxes in truth.items()
        for x1, y1, x2, y2 in boxes.tolist()
    ]
    true = COCO()
    true.dataset = {
        **found.dataset,
        "annotations": [
            {"id": number, "category_id": 1, "iscrowd": 0, **annotation}
            for number, annotation in enumerate(annotations, 1)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        true.createIndex()
        evaluation = COCOeval(true, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision: np.ndarray = evaluation.eval["precision"][:, :, 0, 0, -1].mean(axis=1)
    return precision
