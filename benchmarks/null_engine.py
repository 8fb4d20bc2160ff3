"""Everything but inference: the crop job with an engine that answers at once, on a GPU that is pretended.

    PYTHONPATH=workflow/scripts .venv/bin/python benchmarks/null_engine.py --archives raw_zips

It measures, in turns with decoding alone where that is the limit:

- small: photos/s on small photos, as a share of decoding alone in its fastest way. The start is left out, by the
  difference between a large archive and a small one; the share with it is given as well.
- start: an archive of 50 photos beside a running engine process, from the start of the job's process to its end.
- memory: the peak with 10 times as many photos, of the job, its workers and the engine process with its slots (PSS).
- large: photos/s on photos of 12 megapixels, as a share of decoding alone.

No figure needs a GPU, and none says anything about one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import crop_jobs
import decoding
import photos
import pretended_gpu
import process_tree
from crop_jobs import CORES, CropJob
from decoding import Measured, Way
from process_tree import Usage
from report import Report

SECTIONS = ("small", "start", "memory", "large")
SIZE = 640


@dataclass(frozen=True)
class Bench:
    """What the sections share."""

    scratch: Path
    model: Path
    environment: dict[str, str]
    report: Report
    rounds: int

    def crop(self, archive: Path, threads: int = CORES) -> Usage:
        """The crop job of an archive."""
        output = self.scratch / "output"
        shutil.rmtree(output, ignore_errors=True)
        settings = {"device": "cuda", "image_size": SIZE}
        job = CropJob(archive.stem, archive, self.model, output, self.scratch / "logs", threads, settings=settings)
        return process_tree.run(job.command(), self.environment, others=crop_jobs.engine_processes)

    def fastest_way(self, archive: Path) -> Way:
        """How an archive is decoded in the fastest way."""
        measured = [decoding.measure(way, SIZE, [archive]) for way in decoding.ways(CORES)]
        for each in measured:
            print(f"decoding {archive.parent.name}: {each.way}: {each.rate:.1f} photos/s", flush=True)
        self.report.raw[f"decoding {archive.parent.name}"] = [
            {"way": str(each.way), "photos/s": each.rate, "page faults": each.page_faults} for each in measured
        ]
        return max(measured, key=lambda each: each.rate).way

    def archive(self, name: str, sources: Sequence[bytes], count: int) -> Path:
        """An archive of `count` photos, `sources` over and over."""
        (path,) = photos.write_archives(sources, self.scratch / name, 1, count)
        return path


def share_of_decoding(bench: Bench, name: str, sources: Sequence[bytes], count: int, goal: float | None) -> None:
    """Adds the crop job's speed as a share of that of decoding alone."""
    few = max(1, count // 5)
    whole, part = bench.archive(name, sources, count), bench.archive(f"{name}-few", sources, few)
    way = bench.fastest_way(whole)
    bench.crop(part)  # the engine process is there
    limits: list[Measured] = []
    pairs: list[tuple[Usage, Usage]] = []
    for _ in range(bench.rounds):
        pairs.append((bench.crop(part), bench.crop(whole)))
        limits.append(decoding.measure(way, SIZE, [whole]))
    rates = [max(0.0, (count - few) / max(1e-6, long.seconds - short.seconds)) for short, long in pairs]
    report = bench.report
    report.add(f"{name}: decoding alone, photos/s", [limit.rate for limit in limits])
    report.add(f"{name}: crop job beyond its start, photos/s", rates)
    with_start = [count / long.seconds / limit.rate for (_, long), limit in zip(pairs, limits, strict=True)]
    report.add(f"{name}: crop job with its start, {count} photos ÷ decoding alone", with_start)
    shares = [rate / limit.rate for rate, limit in zip(rates, limits, strict=True)]
    report.add(f"{name}: crop job beyond its start ÷ decoding alone", shares, goal)
    cpu = [(long.cpu_seconds - short.cpu_seconds) / (count - few) * 1e3 for short, long in pairs]
    report.add(f"{name}: crop job beyond its start, ms of CPU per photo", cpu)
    alone = [limit.cpu_seconds / limit.photos * 1e3 for limit in limits]
    report.add(f"{name}: decoding alone, ms of CPU per photo", alone)
    # Where others use the machine, this says more than the clock.
    shares = [limit / job for limit, job in zip(alone, cpu, strict=True)]
    report.add(f"{name}: decoding alone ÷ crop job beyond its start, CPU", shares)
    report.raw[name] = {
        "photos": [few, count],
        "seconds": [[short.seconds, long.seconds] for short, long in pairs],
        "decoding": [limit.seconds for limit in limits],
    }


def start(bench: Bench, sources: Sequence[bytes]) -> None:
    """Adds the time of an archive of 50 photos."""
    archive = bench.archive("fifty", sources, 50)
    cold = bench.crop(archive)
    usages = [bench.crop(archive) for _ in range(max(5, bench.rounds))]
    bench.report.raw["start"] = {"cold": cold.seconds, "seconds": [usage.seconds for usage in usages]}
    seconds = [usage.seconds for usage in usages]
    bench.report.add("archive of 50 photos beside a running engine process, s", seconds, 0.7, at_most=True)
    cpu = [usage.cpu_seconds for usage in usages]
    bench.report.add("archive of 50 photos beside a running engine process, CPU s", cpu)


def memory(bench: Bench, sources: Sequence[bytes], count: int) -> None:
    """Adds peak memory by the number of photos."""
    archives = [bench.archive(f"many-{number}", sources, number) for number in (count, 10 * count)]
    peaks: list[list[int]] = [[], []]
    for _ in range(bench.rounds):
        for archive, found in zip(archives, peaks, strict=True):
            crop_jobs.end_engines()  # each engine process has met this archive alone
            found.append(bench.crop(archive).peak_bytes)
    bench.report.raw["memory"] = peaks
    bench.report.add(f"peak memory with {count} photos, MB", [peak / 1e6 for peak in peaks[0]])
    bench.report.add(f"peak memory with {10 * count} photos, MB", [peak / 1e6 for peak in peaks[1]])
    ratios = [many / few for few, many in zip(*peaks, strict=True)]
    bench.report.add(f"peak memory, {10 * count} ÷ {count} photos", ratios, 1.1, at_most=True)


def measure(options: argparse.Namespace, scratch: Path) -> Report:
    """Runs the sections that were asked for."""
    sources = photos.given(options.archives) if options.archives else photos.made(min(options.photos, 120))
    report = Report()
    environment = pretended_gpu.environment(scratch / "gpu", "null", options.people)
    model = crop_jobs.prepare(crop_jobs.ROOT / "demo" / "person-n.pt", scratch / "model")
    bench = Bench(scratch, model, environment, report, options.rounds)

    def large() -> None:
        share_of_decoding(bench, "large", photos.large(sources, min(12, options.large)), options.large, None)

    sections = {
        "small": lambda: share_of_decoding(bench, "small", sources, options.photos, 0.85),
        "start": lambda: start(bench, sources),
        "memory": lambda: memory(bench, sources, options.memory),
        "large": large,
    }
    for name in SECTIONS:
        if name in options.only:
            sections[name]()
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archives", type=Path, help="folder with ZIPs of small JPEGs; made if not given")
    parser.add_argument("--photos", type=int, default=2000, help="in the archive of small ones")
    parser.add_argument("--memory", type=int, default=1000, help="photos; their peak is compared with 10 times as many")
    parser.add_argument("--large", type=int, default=60, help="photos of 12 megapixels")
    parser.add_argument("--people", type=float, default=0.0, help="share of the photos with a person")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--json", type=Path, help="file for all raw figures")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # nothing is left behind
    scratch = Path(tempfile.mkdtemp(prefix="zipcrop-null-"))
    try:
        report = measure(options, scratch)
    finally:
        crop_jobs.end_engines()
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"\n{report.table()}")
    if options.json:
        facts = {"cores": CORES, "people": options.people, "photos": "given" if options.archives else "made"}
        content = {"facts": facts, "rows": report.rows, "raw": report.raw}
        options.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
