"""What a benchmark writes: its report, the machine, and the files that hold both."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import plot
from crop_jobs import CORES, ROOT

if TYPE_CHECKING:
    from report import Report


def machine(on: str) -> dict[str, str]:
    """The hardware, versions and date of a run on the device `on`."""
    model = torch.cuda.get_device_name() if on == "cuda" else "none used"
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    packages = ("torch", "ultralytics-opencv-headless", "openvino", "opencv-python-headless", "numpy", "snakemake")
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu,
        "cores": str(CORES),
        "memory": f"{memory / 2**30:.0f} GiB",
        "gpu": model,
        "zipcrop": commit.stdout.strip(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def write(report: Report, facts: dict[str, str], results: Path) -> Path:
    """Writes the table and the raw figures; gives the files' path without their suffixes."""
    results.mkdir(parents=True, exist_ok=True)
    slug = "-".join(facts["cpu"].lower().replace("(r)", "").split()[:3])
    path = results / f"{facts['date']}-{slug}-{facts['cores']}-cores"
    heading = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    Path(f"{path}.md").write_text(f"# Benchmark of {facts['date']}\n\n{heading}\n\n{report.table()}\n")
    raw = {"facts": facts, "rows": report.rows, "raw": report.raw}
    Path(f"{path}.json").write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n")
    if {"COCO-sized", "12 megapixels"} <= report.raw.keys():
        plot.draw(raw, Path(f"{path}.svg"))
    return path
