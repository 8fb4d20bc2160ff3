"""The benchmark as a whole, on next to nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

import multiplications
import photos
import random_weights
from helpers.photos import letterboxed
from helpers.project import ROOT
from zipcrop.detect import engine
from zipcrop.detect.model import Model
from zipcrop.prepare import convert
from zipcrop.settings import Thresholds


@pytest.mark.slow
def test_benchmark_writes_a_table_and_all_raw_figures(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "benchmarks" / "bench.py"]
    files = ["--weights", ROOT / "demo" / "person-n.pt", "--results", tmp_path]
    quick = ["--image-size", "64", "--rounds", "1", "--images", "6", "--large-images", "2", "--only", "coco", "large"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow" / "scripts")}
    subprocess.run([*map(str, [*command, *files]), *quick], check=True, env=environment)
    (written,) = tmp_path.glob("*.json")
    result = json.loads(written.read_text())
    assert result["facts"]["image_size"] == "64"
    alone = {"decoding alone", "multiplications alone", "bare engine", "bare engine, int8"}
    peers = {"seed pipeline", "yolo predict", "zipcrop", "zipcrop, int8"}
    assert result["raw"]["COCO-sized"].keys() == {"photos"} | alone | peers
    assert all(run[0]["seconds"] > 0 for name, run in result["raw"]["COCO-sized"].items() if name != "photos")
    table = written.with_suffix(".md").read_text()
    assert "| COCO-sized: efficiency (÷ bare engine) |" in table
    assert "| 12 megapixels: decode: fast, images/s ÷ seed pipeline's |" in table
    assert written.with_suffix(".svg").exists()


def test_operations_of_a_convolution_are_counted_by_hand() -> None:
    pixels = ov.opset13.parameter([-1, 3, -1, -1], np.float32)
    kernels = np.zeros((16, 3, 5, 5), np.float32)
    convolution = ov.opset13.convolution(pixels, kernels, [2, 2], [2, 2], [2, 2], [1, 1])
    network = ov.Model([ov.opset13.relu(convolution)], [pixels])
    assert multiplications.convolution_operations(network, 32, 64) == 2 * (16 * 32 * 16) * (3 * 5 * 5)


@pytest.mark.parametrize("size", [128, 320])
@pytest.mark.slow
def test_random_weights_find_people_in_the_share_they_promise(size: int, tmp_path: Path) -> None:
    images = [photos.decode(photo) for photo in photos.made(24)]
    share = random_weights.write(tmp_path / "random.pt", images, size)
    assert share == 0.25
    convert.prepare(tmp_path / "random.pt", tmp_path / "prepared" / "model.json")
    model = Model.read(tmp_path / "prepared" / "model.json")
    detector = engine.load(model, "openvino", 1, Thresholds(0.25, 0.7, 300))
    boxed = [letterboxed(image, size) for image in images]
    best = [persons[:, 4].max(initial=0) for pixels in boxed for persons in detector.detect(pixels[np.newaxis])]
    found = sum(score > 0.25 for score in best)
    assert abs(found - share * len(images)) <= 1  # weights are saved in f16, which may cost the photo at the edge
