"""Persons in manifests, and the step of `gpu_check.py` that compares those of the GPU with those of the CPU."""

from __future__ import annotations

import csv
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crop_jobs
from crop_jobs import CORES, ROOT

if TYPE_CHECKING:
    from gpu_check import Check
    from gpu_results import Result

Box = tuple[float, float, float, float, float]
"""x1, y1, x2, y2 in pixels, and the confidence."""
Persons = dict[tuple[str, str], list[Box]]
"""By archive and member; also of photos without anybody."""
_CONFIDENCE = 0.25


@dataclass(frozen=True)
class Compared:
    """The persons of one run, looked for in those of another."""

    persons: int
    missing: int
    new: int
    """Of the other run, whom nobody of the first one is."""
    least_iou: float
    iou_1_percent: float
    greatest_score_error: float


def compare(expected: Persons, found: Persons, confidence: float) -> Compared:
    """Looks for each person of `expected` above `confidence` in `found`, by the greatest IoU, 0.5 at least. Photos that
    one of them lacks count as without people there."""
    overlaps, errors, missing, matched = [], [], 0, 0
    for photo, boxes in expected.items():
        others = list(found.get(photo, []))
        for box in sorted(boxes, key=lambda box: -box[4]):
            if box[4] <= confidence:
                continue
            best = max(others, key=lambda other: iou(box, other), default=None)
            if best is None or iou(box, best) < 0.5:
                missing += 1
                continue
            others.remove(best)
            matched += 1
            overlaps.append(iou(box, best))
            errors.append(abs(box[4] - best[4]))
    overlaps.sort()
    total = sum(box[4] > confidence for boxes in found.values() for box in boxes)
    return Compared(
        persons=matched + missing,
        missing=missing,
        new=max(0, total - matched),
        least_iou=overlaps[0] if overlaps else 1.0,
        iou_1_percent=overlaps[len(overlaps) // 100] if overlaps else 1.0,
        greatest_score_error=max(errors, default=0.0),
    )


def iou(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    either = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - both
    return both / either if either else 0.0


def persons_in(manifests: Sequence[Path], any_archive: bool = False) -> Persons:
    """The persons in manifests; of `any_archive`, under the same name."""
    found: Persons = {}
    for path in manifests:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                boxes = found.setdefault(("" if any_archive else row["archive"], row["member"]), [])
                if row["status"] == "person":
                    x1, y1, x2, y2, score = (float(row[name]) for name in ("x1", "y1", "x2", "y2", "confidence"))
                    boxes.append((x1, y1, x2, y2, score))
    return found


def parity(check: Check, result: Result) -> None:
    """Step 9: the bundled detector, against the CPU in f32."""
    paths, truth = _parity_archives(check)
    settings = {"image_size": check.plan.parity_size, "confidence": 0.01}
    options: dict[str, Any] = {"model": check.parity_model, "threads": CORES}
    manifests: dict[str, list[Path]] = {}
    for name, extra in (("gpu", {}), ("cpu", {"device": "cpu", "engine": "torch"})):
        jobs = [
            check.job(path.stem, path, f"parity-{name}", settings={**settings, **extra}, **options) for path in paths
        ]
        finished = crop_jobs.run_all(jobs)
        failed = [each.output[-300:] for each in finished if each.status]
        result.check(f"{name}: archives done", failed or len(finished), not failed)
        manifests[name] = [job.manifest for job in jobs]
        # For evaluate.py, where what it needs is installed.
        shutil.copytree(jobs[0].manifest.parent, check.out / f"parity-{name}" / "manifests", dirs_exist_ok=True)
    on_cpu, on_gpu = persons_in(manifests["cpu"]), persons_in(manifests["gpu"])
    result.figure("photos", len(on_cpu))
    compared = compare(on_cpu, on_gpu, _CONFIDENCE)
    result.figure(f"persons above {_CONFIDENCE} on the CPU", compared.persons)
    result.check("persons missing on the GPU", compared.missing, compared.missing == 0, "= 0")
    result.at_least("least IoU", compared.least_iou, 0.99)
    result.figure("IoU, 1 in 100 is below", compared.iou_1_percent)
    result.figure("confidence, greatest difference", compared.greatest_score_error)
    back = compare(on_gpu, on_cpu, _CONFIDENCE)
    result.figure(f"persons above {_CONFIDENCE} on the GPU that the CPU lacks", back.missing)
    _average_precision(check, result, truth)


def _parity_archives(check: Check) -> tuple[list[Path], Path | None]:
    """The archives to compare on, and the table of true boxes where there is one beside them."""
    if check.given:
        for truth in (check.given / "truth.csv", check.given.parent / "truth.csv"):
            if truth.exists():
                paths = sorted(check.given.rglob("*.zip"))
                return (paths if check.plan.on_gpu else paths[:1]), truth
    return [check.scratch / "archives" / "parity" / "photos0.zip"], None


def _average_precision(check: Check, result: Result, truth: Path | None) -> None:
    missing = [name for name in ("pycocotools", "pandas") if importlib.util.find_spec(name) is None]
    if truth is None or missing:
        why = f"{', '.join(missing)} not installed; run evaluate.py on parity-cpu and parity-gpu elsewhere"
        why = why if truth else "no truth.csv beside the photos"
        result.skip("AP50", why)
        return
    script = ROOT / "benchmarks" / "evaluate.py"
    outputs = [str(check.scratch / f"parity-{name}" / "output") for name in ("cpu", "gpu")]
    done = subprocess.run([sys.executable, str(script), str(truth), *outputs], capture_output=True, text=True)
    found = [float(match) for match in re.findall(r"^\S*/output +([\d.]+)", done.stdout, re.MULTILINE)]
    if done.returncode or len(found) < 2:
        result.check("AP50", (done.stderr or done.stdout)[-300:], holds=False)
        return
    result.figure("AP50, CPU and GPU", found[:2])
    result.at_most("AP50, difference", abs(found[0] - found[1]), 0.1)
