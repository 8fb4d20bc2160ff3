"""Measures zipcrop against the seed pipeline, `yolo predict` and the bare engine; writes a table and all raw figures.

All peers run once per round, in turns, on the same photos, weights and cores. Figures are medians over the rounds of
the ratio within a round, with the least and the greatest. For a quick look: --rounds 1 --images 20 --large-images 4.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import figures
import peers
import photos
import random_weights
from crop_jobs import CORES, ROOT
from peers import Work
from process_tree import Usage
from report import Report
from zipcrop.process import gpu

SECTIONS = ("coco", "large", "fixed", "noop", "scaling")
Usages = dict[str, list[Usage]]
"""By peer, the usage in each round."""


def interleaved(rounds: int, runs: dict[str, Callable[[], Usage]], raw: dict[str, Any]) -> Usages:
    """The usage of each of `runs`, by round; each round begins with another of them."""
    usages: Usages = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            usages[name].append(runs[name]())
    for name, each in usages.items():
        raw[name] = [
            {
                "seconds": usage.seconds,
                "cpu_seconds": usage.cpu_seconds,
                "peak_bytes": usage.peak_bytes,
                "said": usage.output[-200:],
            }
            for usage in each
        ]
    return usages


def compare(report: Report, name: str, work: Work, model: Path, int8: Path | None, rounds: int, large: bool) -> None:
    """Measures all peers on `work`. Goals were set for yolov8s at 640 alone."""
    runs: dict[str, Callable[[], Usage]] = {
        "seed pipeline": lambda: peers.seed_pipeline(work),
        "yolo predict": lambda: peers.yolo_predict(work),
        "decoding alone": lambda: peers.decoding(work),
        "bare engine": lambda: peers.bare_engine(work, model),
        "zipcrop": lambda: peers.zipcrop(work, model),
    }
    if large:
        runs["zipcrop, decode: fast"] = lambda: peers.zipcrop(work, model, decode="fast")
    elif work.device == "cpu":
        runs["multiplications alone"] = lambda: peers.multiplications(work, model)
    if int8 is not None:
        runs["bare engine, int8"] = lambda: peers.bare_engine(work, int8)
        runs["zipcrop, int8"] = lambda: peers.zipcrop(work, int8, precision="int8")
    usages = interleaved(rounds, runs, report.raw.setdefault(name, {"photos": work.photos}))
    for peer, each in usages.items():
        report.add(f"{name}: {peer}, images/s", [work.photos / usage.seconds for usage in each])
    compare_speed(report, name, work, usages, large)
    compare_memory(report, name, work, usages)


def compare_speed(report: Report, name: str, work: Work, usages: Usages, large: bool) -> None:
    """Adds the ratios of speeds."""
    goals = work.image_size == 640

    def ratio(figure: str, one: str, other: str, goal: float | None = None) -> None:
        values = [b.seconds / a.seconds for a, b in zip(usages[one], usages[other], strict=True)]
        report.add(f"{name}: {figure}", values, goal if goals else None)

    if work.device == "cuda":
        ratio("images/s ÷ seed pipeline's", "zipcrop", "seed pipeline", 10.0)
        ratio("images/s ÷ yolo predict's", "zipcrop", "yolo predict")
        alone = zip(usages["zipcrop"], usages["decoding alone"], usages["bare engine"], strict=True)
        shares = [max(decoding.seconds, engine.seconds) / zipcrop.seconds for zipcrop, decoding, engine in alone]
        report.add(f"{name}: ÷ the slower of decoding and engine alone", shares, 0.8 if goals else None)
    else:
        ratio("images/s ÷ seed pipeline's", "zipcrop", "seed pipeline", 2.0 if large else 3.0)
        ratio("images/s ÷ yolo predict's", "zipcrop", "yolo predict", None if large else 3.0)
        ratio("efficiency (÷ bare engine)", "zipcrop", "bare engine", None if large else 0.95)
    if large:
        fast_goal = 2.6 if work.device == "cpu" else None
        ratio("decode: fast, images/s ÷ seed pipeline's", "zipcrop, decode: fast", "seed pipeline", fast_goal)
    if "multiplications alone" in usages:
        ratio("bare engine ÷ seed pipeline's (the most there is to gain)", "bare engine", "seed pipeline")
        ratio("bare engine ÷ yolo predict's", "bare engine", "yolo predict")
        ratio("bare engine ÷ multiplications alone", "bare engine", "multiplications alone")
        ratio("multiplications alone ÷ seed pipeline's", "multiplications alone", "seed pipeline")
    if "zipcrop, int8" in usages:
        ratio("int8, images/s ÷ seed pipeline's", "zipcrop, int8", "seed pipeline", 6.0)
        ratio("int8, efficiency (÷ bare engine)", "zipcrop, int8", "bare engine, int8")
        ratio("int8, bare engine ÷ seed pipeline's (the most there is to gain)", "bare engine, int8", "seed pipeline")


def compare_memory(report: Report, name: str, work: Work, usages: Usages) -> None:
    """Adds memory and CPU time."""
    for peer in ("seed pipeline", "yolo predict", "zipcrop"):
        report.add(f"{name}: {peer}, peak memory, MB", [usage.peak_bytes / 1e6 for usage in usages[peer]])
        report.add(f"{name}: {peer}, CPU seconds per image", [u.cpu_seconds / work.photos for u in usages[peer]])
    peaks = zip(usages["zipcrop"], usages["seed pipeline"], strict=True)
    memory = [a.peak_bytes / b.peak_bytes for a, b in peaks]
    goal = 0.35 if work.image_size == 640 else None
    report.add(f"{name}: peak memory ÷ seed pipeline's", memory, goal, at_most=True)


def fixed_cost(report: Report, work: Work, model: Path, rounds: int) -> None:
    """An archive with one photo."""
    raw = report.raw.setdefault("fixed", {})
    runs = {"zipcrop": lambda: peers.zipcrop(work, model), "import": peers.import_ultralytics}
    usages = interleaved(max(5, rounds), runs, raw)
    report.add("archive with one photo, s", [usage.seconds for usage in usages["zipcrop"]])
    ratios = [a.seconds / b.seconds for a, b in zip(usages["zipcrop"], usages["import"], strict=True)]
    report.add("archive with one photo ÷ importing ultralytics", ratios, 0.4, at_most=True)


def noop(report: Report, scratch: Path) -> None:
    """A run that finds nothing to do."""
    usage = peers.snakemake_dry_run(1000, 1000, scratch)
    report.add("snakemake -n, 1,000 archives of 1,000 members, up to date, s", [usage.seconds], 10, at_most=True)
    report.raw["noop"] = {"seconds": usage.seconds}


def scaling(report: Report, sources: Sequence[bytes], counts: Sequence[int], scratch: Path, on: str) -> None:
    """Speed and memory by the number of images; with the bundled detector, which is small, so that it takes minutes."""
    weights = ROOT / "demo" / "person-n.pt"
    model = peers.prepare(weights, scratch / "bundled")
    raw = report.raw.setdefault("scaling", {})
    peaks = {}
    for count in sorted({*counts, 1000}):
        (whole,) = photos.write_archives(sources, scratch / f"many-{count}", 1, count)
        usage = peers.zipcrop(Work(count, whole, [], weights, 320, scratch, on), model)
        raw[count] = {"seconds": usage.seconds, "peak_bytes": usage.peak_bytes}
        peaks[count] = usage.peak_bytes
        report.add(f"bundled detector at 320, {count} images: images/s", [count / usage.seconds])
        report.add(f"bundled detector at 320, {count} images: peak memory, MB", [usage.peak_bytes / 1e6])
    largest = max(peaks)
    report.add(f"peak memory, {largest} ÷ 1000 images", [peaks[largest] / peaks[1000]], 1.1, at_most=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archives", type=Path, help="folder with ZIPs of COCO-sized JPEGs; made if not given")
    parser.add_argument("--weights", type=Path, help="default: models/yolov8s.pt, or yolov8s with random weights")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="for all peers")
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--large-images", type=int, default=48, help="12-megapixel photos")
    parser.add_argument("--scaling", type=int, nargs="*", default=[200, 2000, 10000], help="numbers of images")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--scratch", type=Path, help="kept; default: a temporary folder")
    options = parser.parse_args()
    if options.device == "cuda" and not gpu.visible():
        parser.error("--device cuda: there is no GPU to be seen")
    scratch = options.scratch or Path(tempfile.mkdtemp(prefix="zipcrop-bench-"))
    try:
        measure(options, scratch)
    finally:
        if options.scratch is None:
            shutil.rmtree(scratch, ignore_errors=True)


def measure(options: argparse.Namespace, scratch: Path) -> None:
    """Runs the sections that were asked for and writes the results."""
    report = Report()
    sources = photos.given(options.archives) if options.archives else photos.made(min(options.images, 200))
    size = options.image_size
    weights, described = _weights(options, sources, scratch)
    model = peers.prepare(weights, scratch / "prepared")
    facts = {
        **figures.machine(options.device),
        "weights": described,
        "image_size": str(size),
        "photos": "given" if options.archives else "made",
        "rounds": str(options.rounds),
    }

    def work(folder: str, made: Sequence[bytes], count: int) -> Work:
        (whole,) = photos.write_archives(made, scratch / folder / "whole", 1, count)
        parts = photos.write_archives(made, scratch / folder / "parts", CORES, count)
        return Work(count, whole, parts, weights, size, scratch, options.device)

    def coco() -> None:
        job = work("coco", sources, options.images)
        int8 = _int8(model, job) if options.device == "cpu" else None
        compare(report, "COCO-sized", job, model, int8, options.rounds, large=False)

    def large() -> None:
        big = work("large", photos.large(sources, min(24, options.large_images)), options.large_images)
        compare(report, "12 megapixels", big, model, None, options.rounds, large=True)

    sections: dict[str, Callable[[], None]] = {
        "coco": coco,
        "large": large,
        "fixed": lambda: fixed_cost(report, work("one", sources, 1), model, options.rounds),
        "noop": lambda: noop(report, scratch),
        "scaling": lambda: scaling(report, sources, options.scaling, scratch, options.device),
    }
    for name in SECTIONS:
        if name in options.only:
            sections[name]()
            path = figures.write(report, facts, options.results)  # after each, so that a fault costs one section only
    print(f"\n{report.table()}\n\nwritten to {path}.md and .json")


def _weights(options: argparse.Namespace, sources: Sequence[bytes], scratch: Path) -> tuple[Path, str]:
    """The weights to measure with, and what the results call them."""
    weights = options.weights or ROOT / "models" / "yolov8s.pt"
    if options.weights or weights.exists():
        return weights, weights.name
    weights = scratch / "yolov8s.pt"
    (sample,) = photos.write_archives(sources, scratch / "sample", 1, 48)
    share = random_weights.write(weights, photos.decoded(sample), options.image_size)
    return weights, f"yolov8s with random weights, 'people' in {share:.0%} of the photos"


def _int8(model: Path, work: Work) -> Path | None:
    try:
        return peers.quantize(model, work.image_size, work.whole.parent)
    except RuntimeError as error:
        print(f"int8 is left out: {error}")
        return None


if __name__ == "__main__":
    main()
