"""A GPU that is pretended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import crop_jobs
import photos
import pretended_gpu
from crop_jobs import CropJob
from helpers.files import read_csv
from helpers.project import SCRIPTS, WEIGHTS
from pretended_gpu import NullNetwork

LIST = "from zipcrop.process import gpu; print([each.uuid for each in gpu.visible()])"


def test_children_see_the_driver_and_what_was_on_their_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    environment = pretended_gpu.write_driver(tmp_path / "driver", ["GPU-1", "GPU-2"])
    said = subprocess.run(
        [sys.executable, "-c", LIST], env={**os.environ, **environment}, check=True, capture_output=True, text=True
    )
    assert said.stdout == "['GPU-1', 'GPU-2']\n"


def test_the_null_network_finds_a_share_of_people_that_follows_from_the_pixels() -> None:
    generator = np.random.default_rng(0)
    many = [generator.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(200)]
    network = NullNetwork(16, 0.25)
    found = network.finish(network.start(many))
    assert found.shape == (200, 5, 8 * 12 + 4 * 6 + 2 * 3)
    persons = found[:, 4].max(axis=1)
    assert 0.15 < (persons > 0.5).mean() < 0.35
    assert (network.start(many[::-1])[::-1] == found).all()
    assert NullNetwork(16, 0).start(many).max() == 0


@pytest.mark.parametrize(
    ("people", "status"), [(1.0, "person"), pytest.param(0.0, "no_person", marks=pytest.mark.slow)]
)
def test_a_crop_job_uses_the_null_network(tmp_path: Path, people: float, status: str) -> None:
    environment = pretended_gpu.environment(tmp_path / "gpu", "null", people)
    (archive,) = photos.write_archives(photos.made(2), tmp_path, 1, 5)
    model = crop_jobs.prepare(WEIGHTS, tmp_path / "model")
    settings = {"device": "cuda", "image_size": 64}
    job = CropJob("a", archive, model, tmp_path / "output", tmp_path / "logs", 2, settings=settings)
    try:
        (finished,) = crop_jobs.run_all([job], environment)
        assert finished.status == 0, finished.output
        assert [row["status"] for row in read_csv(job.manifest)] == [status] * 5
        (engine,) = crop_jobs.engine_processes()
        assert engine.is_running()
    finally:
        crop_jobs.end_engines()
    assert crop_jobs.engine_processes() == []
