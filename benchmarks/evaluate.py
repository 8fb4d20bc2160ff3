"""Measures results against true boxes: AP, precision and recall of the persons in the manifests, also by size.

usage: evaluate.py TRUTH.csv OUTPUT [OUTPUT ...]

TRUTH.csv has the columns archive (with .zip), member, x1, y1, x2, y2: a row per person, in pixels of the upright photo,
and one with an empty box for a photo without people. AP needs unsure persons, too: run zipcrop with `confidence=0.01`
for it. Several OUTPUTs are compared with the first.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

EDGES = ["x1", "y1", "x2", "y2"]
Photos = dict[tuple[str, str], np.ndarray]
MAX_DETECTIONS = 100
"""COCO's AP counts the most confident persons of a photo, up to this number."""


def read_truth(path: Path) -> Photos:
    """The true boxes, float (m, 4), of each photo, by archive and member."""
    table = pd.read_csv(path, dtype={"archive": str, "member": str}, keep_default_na=False, na_values=[""])
    table["archive"] = table["archive"].str.replace(r"\.zip$", "", case=False, regex=True)
    return {
        (str(archive), str(member)): rows[EDGES].dropna().to_numpy(float)
        for (archive, member), rows in table.groupby(["archive", "member"])
    }


def read_detections(output: Path) -> Photos:
    """The persons, float (n, 5) x1, y1, x2, y2, confidence, of each photo, as the manifests in an output folder say."""
    photos: Photos = {}
    manifests = sorted((output / "manifests").rglob("*.csv"))
    if not manifests:
        sys.exit(f"there are no manifests in {output}")
    for path in manifests:
        record = json.loads(path.with_suffix(".json").read_text())
        if record["settings"]["confidence"] > 0.05:
            print(f"warning: {path} has only persons above {record['settings']['confidence']}: AP comes out too low")
        table = pd.read_csv(path, dtype={"archive": str, "member": str}, keep_default_na=False, na_values=[""])
        for (archive, member), rows in table.groupby(["archive", "member"]):
            persons = rows[rows["status"] == "person"]
            photos[str(archive), str(member)] = persons[[*EDGES, "confidence"]].to_numpy(float)
    return photos


def measure(detections: Photos, truth: Photos, confidence: float) -> dict[str, float]:
    """AP50 and AP50-95, and, of persons above `confidence`, precision and recall at IoU 0.5, in percent; how many such
    persons there are, and in how many photos with people and without."""
    missing = [key for key in truth if key not in detections]
    if missing:
        print(f"warning: {len(missing)} photos, such as {missing[0]}, are in no manifest and count as without people")
    photos = [(detections.get(key, np.zeros((0, 5))), boxes) for key, boxes in truth.items()]
    sure = [(int((persons[:, 4] > confidence).sum()), len(boxes)) for persons, boxes in photos]
    persons, people = sum(found for found, _ in sure), sum(there for _, there in sure)
    evaluation = _evaluate(detections, truth)
    true = len(_areas_found(evaluation, confidence))
    return {
        **_average_precisions(evaluation, "all"),
        "precision": 100 * true / max(1, persons),
        "recall": 100 * true / max(1, people),
        "persons": persons,
        "found photos": sum(found > 0 for found, there in sure if there),
        "false photos": sum(found > 0 for found, there in sure if not there),
    }


def measure_sizes(detections: Photos, truth: Photos, confidence: float) -> dict[str, dict[str, float]]:
    """By COCO's sizes: how many true persons there are, AP50 and AP50-95, and the recall as in `measure`."""
    evaluation = _evaluate(detections, truth)
    areas = np.array([person["area"] for person in evaluation.cocoGt.dataset["annotations"]])
    found = _areas_found(evaluation, confidence)
    sizes = {}
    for size, (least, greatest) in zip(evaluation.params.areaRngLbl, evaluation.params.areaRng, strict=True):
        persons, true = (int(((each >= least) & (each <= greatest)).sum()) for each in (areas, found))
        sizes[size] = {
            "true persons": persons,
            **_average_precisions(evaluation, size),
            "recall": 100 * true / max(1, persons),
        }
    return sizes


def _evaluate(detections: Photos, truth: Photos) -> COCOeval:
    """The evaluation by pycocotools of the photos in `truth`."""
    found = [detections.get(key, np.zeros((0, 5))) for key in truth]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools talks
        evaluation = COCOeval(_coco(truth.values()), _coco(found), "bbox")
        # The second is for precision and recall, which count all persons.
        evaluation.params.maxDets = [MAX_DETECTIONS, max([MAX_DETECTIONS, *map(len, found)])]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _coco(photos: Iterable[np.ndarray]) -> COCO:
    """An index for pycocotools of the boxes, float (n, 4 or 5) x1, y1, x2, y2 and perhaps a score, of each photo."""
    images = list(photos)
    boxes = [(image, box.tolist()) for image, persons in enumerate(images) for box in persons]
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(len(images))],
        "categories": [{"id": 1}],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "score": score[0] if score else 1.0,
            }
            for number, (image, (x1, y1, x2, y2, *score)) in enumerate(boxes, start=1)
        ],
    }
    coco.createIndex()
    return coco


def _average_precisions(evaluation: COCOeval, size: str) -> dict[str, float]:
    """In percent; NaN where there is no true person of that `size`."""
    # By IoU threshold (0.5 to 0.95), recall, class, size and number of persons that count.
    precision = evaluation.eval["precision"][:, :, 0, evaluation.params.areaRngLbl.index(size), 0]
    by_threshold = np.where(precision < 0, np.nan, precision).mean(axis=1)
    return {"AP50": 100 * float(by_threshold[0]), "AP50-95": 100 * float(by_threshold.mean())}


def _areas_found(evaluation: COCOeval, confidence: float) -> np.ndarray:
    """The areas of the true boxes, float (n,) in square pixels, that persons above `confidence` find at IoU 0.5."""
    true, found = evaluation.cocoGt.anns, evaluation.cocoDt.anns
    of_all_sizes = evaluation.evalImgs[: len(evaluation.params.imgIds)]
    pairs = [
        (int(box), int(person))
        for photo in of_all_sizes
        if photo  # None where nobody is and nobody was found
        for box, person in zip(photo["gtIds"], photo["gtMatches"][0], strict=True)
        if person
    ]
    # A more confident person chooses first, so the pairs are those that there would be without the others.
    return np.array([true[box]["area"] for box, person in pairs if found[person]["score"] > confidence])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path)
    parser.add_argument("outputs", type=Path, nargs="+", metavar="OUTPUT")
    parser.add_argument("--confidence", type=float, default=0.25, help="for precision, recall and counts")
    options = parser.parse_args()
    truth = read_truth(options.truth)
    detections = {str(output): read_detections(output) for output in options.outputs}
    table = pd.DataFrame({name: measure(each, truth, options.confidence) for name, each in detections.items()}).T
    print(f"precision, recall and counts: of persons above {options.confidence}; found photos: with such persons, and")
    print("rightly so; false photos: with such persons, where there is nobody\n")
    print(table.to_string(float_format="%.2f"))
    for name, each in detections.items():
        sizes = pd.DataFrame(measure_sizes(each, truth, options.confidence)).T
        print(f"\n{name}, by size: small up to 32 x 32 pixels, medium up to 96 x 96, as in COCO")
        print(sizes.astype({"true persons": int}).to_string(float_format="%.2f"))
    if len(table) > 1:
        print("\ndifference from the first")
        print((table.iloc[1:] - table.iloc[0]).to_string(float_format="%+.2f"))


if __name__ == "__main__":
    main()
