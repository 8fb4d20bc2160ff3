"""Measures results against true boxes: AP, precision and recall of the persons in the manifests, by size, too.

usage: evaluate.py TRUTH.csv OUTPUT [OUTPUT ...]

TRUTH.csv has the columns archive (with .zip), member, x1, y1, x2, y2: a row per person, in pixels of the upright photo,
and one with empty boxes for a photo without people. AP needs the unsure detections, too: run zipcrop with
`confidence=0.01` for it. Several OUTPUTs are compared with the first.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from average_precision import IOUS, SIZES, area, average_precision, match

EDGES = ["x1", "y1", "x2", "y2"]
Photos = dict[tuple[str, str], np.ndarray]


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
            photos[archive, member] = persons[[*EDGES, "confidence"]].to_numpy(float)
    return photos


def measure(detections: Photos, truth: Photos, confidence: float) -> dict[str, float]:
    """AP50 and AP50-95, and, of persons above `confidence`, precision and recall at IoU 0.5, in percent; how many such
    persons there are, and in how many photos with people and without."""
    missing = [key for key in truth if key not in detections]
    if missing:
        print(f"warning: {len(missing)} photos, such as {missing[0]}, are in no manifest and count as without people")
    found, boxes = _paired(detections, truth)
    sure = [persons[persons[:, 4] > confidence] for persons in found]
    true = sum(len(_found(persons, each)) for persons, each in zip(sure, boxes, strict=True))
    return {
        **_average_precisions(found, boxes, "all"),
        "precision": 100 * true / max(1, sum(map(len, sure))),
        "recall": 100 * true / max(1, sum(map(len, boxes))),
        "persons": sum(map(len, sure)),
        "found photos": sum(len(persons) > 0 for persons, each in zip(sure, boxes, strict=True) if len(each)),
        "false photos": sum(len(persons) > 0 for persons, each in zip(sure, boxes, strict=True) if not len(each)),
    }


def measure_sizes(detections: Photos, truth: Photos, confidence: float) -> dict[str, dict[str, float]]:
    """By COCO's sizes: how many true persons there are, AP50 and AP50-95, and the recall as in `measure`."""
    found, boxes = _paired(detections, truth)
    hits = [_found(persons[persons[:, 4] > confidence], each) for persons, each in zip(found, boxes, strict=True)]
    sizes = {}
    for size, (least, greatest) in SIZES.items():
        inside = [(area(each) >= least) & (area(each) <= greatest) for each in boxes]
        persons = sum(int(each.sum()) for each in inside)
        true = sum(int(each[rows].sum()) for rows, each in zip(hits, inside, strict=True))
        sizes[size] = {
            "true persons": persons,
            **_average_precisions(found, boxes, size),
            "recall": 100 * true / max(1, persons),
        }
    return sizes


def _average_precisions(found: list[np.ndarray], boxes: list[np.ndarray], size: str) -> dict[str, float]:
    precisions = [average_precision(found, boxes, threshold, SIZES[size]) for threshold in IOUS]
    return {"AP50": 100 * precisions[0], "AP50-95": 100 * float(np.mean(precisions))}


def _paired(detections: Photos, truth: Photos) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The detections and the true boxes of each photo in `truth`."""
    return [detections.get(key, np.zeros((0, 5))) for key in truth], list(truth.values())


def _found(persons: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The rows of the true `boxes` that `persons` find at IoU 0.5."""
    matched = match(persons[np.argsort(-persons[:, 4], kind="mergesort"), :4], boxes, 0.5)
    return matched[matched >= 0]


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
