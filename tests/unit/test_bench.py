"""The benchmark as a whole, on next to nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from support import ROOT


def test_benchmark_writes_a_table_and_all_raw_figures(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "benchmarks" / "bench.py", "--weights", ROOT / "demo" / "person-n.pt"]
    quick = ["--image-size", "64", "--rounds", "1", "--images", "6", "--large-images", "2", "--only", "coco", "large"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow" / "scripts")}
    subprocess.run([*command, *quick, "--results", tmp_path], check=True, env=environment)
    (written,) = tmp_path.glob("*.json")
    result = json.loads(written.read_text())
    assert result["facts"]["image_size"] == "64"
    peers = {"photos", "seed pipeline", "yolo predict", "bare engine", "zipcrop", "bare engine, int8", "zipcrop, int8"}
    assert result["raw"]["COCO-sized"].keys() == peers
    assert all(run[0]["seconds"] > 0 for name, run in result["raw"]["COCO-sized"].items() if name != "photos")
    table = written.with_suffix(".md").read_text()
    assert "| COCO-sized: efficiency (÷ bare engine) |" in table
    assert "| 12 megapixels: decode: fast, images/s ÷ seed pipeline's |" in table
    assert written.with_suffix(".svg").exists()
