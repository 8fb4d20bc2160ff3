"""zipcrop and its alternatives, each as a command to measure."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import crop_jobs
import process_tree
from crop_jobs import CORES, ROOT, SCRIPTS, CropJob
from process_tree import Usage
from zipcrop import configuration

SCHEMA = configuration.load_schema(ROOT / "workflow" / "schemas" / "config.schema.yaml")


@dataclass(frozen=True)
class Work:
    """The same photos for every peer."""

    photos: int
    whole: Path
    """One archive with all of them."""
    parts: Sequence[Path]
    """The same, dealt out evenly to an archive per core."""
    weights: Path
    image_size: int
    scratch: Path
    device: str = "cpu"
    """`cpu`, on which no peer sees a GPU, or `cuda`."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables that decide which GPUs a peer sees."""
        return {"CUDA_VISIBLE_DEVICES": ""} if self.device == "cpu" else {}


def prepare(weights: Path, folder: Path) -> Path:
    """The prepared f32 model's JSON, as the rule prepare_model makes it."""
    model = folder / "model.json"
    if not model.exists():
        _quietly(sys.executable, SCRIPTS / "prepare_model.py", f"--weights={weights}", f"--target={model}")
    return model


def quantize(model: Path, image_size: int, raw_zips: Path) -> Path:
    """The int8 model's JSON, as the rule quantize_model makes it."""
    target = model.parent / f"int8-{image_size}" / "model.json"
    if not target.exists():
        config = configuration.complete({"image_size": image_size}, SCHEMA)
        chosen = json.dumps(configuration.result_settings(config).flat())
        options = (f"--model={model}", f"--target={target}", f"--raw-zips={raw_zips}", f"--settings={chosen}")
        _quietly(sys.executable, SCRIPTS / "quantize_model.py", *options)
    return target


def seed_pipeline(work: Work) -> Usage:
    """The seed pipeline, a process per core, each with one thread, which suits it."""
    output = _empty(work.scratch / "seed")
    script = ROOT / "benchmarks" / "seed_pipeline.py"
    arguments: list[str | Path] = [work.weights, str(work.image_size), output, str(CORES), *work.parts]
    return process_tree.run([sys.executable, script, *arguments], work.environment)


def yolo_predict(work: Work) -> Usage:
    """`yolo predict` on the extracted files, extraction counted, with a thread per core."""
    files, output = _empty(work.scratch / "extracted"), _empty(work.scratch / "yolo")
    script = ROOT / "benchmarks" / "extract_and_predict.py"
    arguments: list[str | Path] = [work.whole, files, work.weights, str(work.image_size), output, str(CORES)]
    return process_tree.run([sys.executable, script, *arguments], {"OMP_NUM_THREADS": str(CORES), **work.environment})


def zipcrop(work: Work, model: Path, **overrides: Any) -> Usage:
    """The crop job, as the rule crop_archive calls it, from cold; `overrides` are settings. The engine process of a GPU
    counts."""
    output = _empty(work.scratch / "zipcrop")
    settings = {"image_size": work.image_size, "device": work.device, **overrides}
    logs = work.scratch / "zipcrop-logs"
    job = CropJob(work.whole.stem, work.whole, model, output, logs, CORES, settings=settings)
    try:
        return process_tree.run(job.command(), work.environment, others=crop_jobs.engine_processes)
    finally:
        crop_jobs.end_engines()


def bare_engine(work: Work, model: Path) -> Usage:
    """The engine alone; only its seconds count."""
    return _timed_by_itself(work, "bare_engine.py", model, str(work.image_size), work.device, str(CORES), work.whole)


def decoding(work: Work) -> Usage:
    """Decoding and letterboxing alone, in the fastest way; only its seconds count."""
    return _timed_by_itself(work, "decoding.py", str(work.image_size), str(CORES), work.whole)


def multiplications(work: Work, model: Path) -> Usage:
    """The seconds of the network's multiplications alone, at the speed of matrix multiplication in f32."""
    return _timed_by_itself(work, "multiplications.py", model, str(work.image_size), work.whole)


def _timed_by_itself(work: Work, script: str, *arguments: str | Path) -> Usage:
    usage = process_tree.run([sys.executable, ROOT / "benchmarks" / script, *arguments], work.environment)
    return Usage(float(usage.output.splitlines()[-1]), 0, 0, "")


def import_ultralytics() -> Usage:
    """The import of ultralytics, which every program with it pays for."""
    return process_tree.run([sys.executable, "-c", "from ultralytics import YOLO"])


def snakemake_dry_run(archives: int, members: int, scratch: Path) -> Usage:
    """`snakemake -n` where every one of `archives` ZIPs with `members` members is up to date. Raises RuntimeError if it
    would do anything."""
    folder = _empty(scratch / "noop")
    raw_zips, output = folder / "raw_zips", folder / "output"
    raw_zips.mkdir()
    template = raw_zips / "template"
    with zipfile.ZipFile(template, "w") as archive:
        for number in range(members):
            archive.writestr(f"archive-0000/note-{number:06}.txt", "")
    content = template.read_bytes()
    template.unlink()
    names = [f"archive-{number:04}" for number in range(archives)]
    for name in names:
        (raw_zips / f"{name}.zip").write_bytes(content.replace(b"archive-0000", name.encode()))
        for kind in ("Person", "No_Person"):
            (output / kind / name).mkdir(parents=True)
        for kind in ("csv", "json"):
            _touch(output / "manifests" / f"{name}.{kind}")
    weights = ROOT / "demo" / "person-n.pt"
    digest = subprocess.run(["sha256sum", weights], check=True, capture_output=True, text=True).stdout[:16]
    _touch(folder / "models" / "prepared" / digest / "model.json")
    _touch(output / "summary.csv")
    snakemake = Path(sys.executable).with_name("snakemake")
    options: list[str | Path] = ["--snakefile", ROOT / "Snakefile", "--cores", "1", "--directory", folder]
    options += ["--configfile", ROOT / "config.yaml", "--config", f"model={weights}"]
    # Records the outputs as made with the present parameters.
    _quietly(snakemake, "--touch", *options)
    usage = process_tree.run([snakemake, "-n", *options])
    if "Nothing to be done" not in usage.output:
        raise RuntimeError(f"the dry run was to find nothing to do:\n{usage.output[-2000:]}")
    return usage


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _quietly(*command: str | Path) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[1]} failed:\n{done.stdout[-2000:]}")
