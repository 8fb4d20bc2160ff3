"""Crop jobs as the benchmarks start them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import crop_jobs
import photos
from crop_jobs import CropJob, Finished
from helpers.project import ROOT
from zipcrop import configuration


def test_defaults_are_those_of_the_schema() -> None:
    schema = configuration.load_schema(ROOT / "workflow" / "schemas" / "config.schema.yaml")
    config = configuration.complete({}, schema)
    defaults = crop_jobs.defaults()
    settings = configuration.result_settings(config).flat()
    assert {name: defaults[name] for name in settings} == settings
    speed = vars(configuration.speed_settings(config))
    assert {name: defaults[name] for name in speed} == speed


def test_a_job_has_the_options_of_the_rule(tmp_path: Path) -> None:
    (archive,) = photos.write_archives(photos.made(1), tmp_path, 1)
    settings = {"device": "cuda", "image_size": 64}
    job = CropJob("a", archive, tmp_path / "model.json", tmp_path / "output", tmp_path / "logs", 3, 2, settings)
    options = dict(option.removeprefix("--").split("=", 1) for option in job.command()[2:])
    rule = (ROOT / "workflow" / "rules" / "crop.smk").read_text()
    assert all(f"--{name}=" in rule for name in options)
    assert (options["threads"], options["gpus"], options["archive"]) == ("3", "2", "a")
    assert json.loads(options["speed"])["device"] == "cuda"
    assert json.loads(options["settings"])["image_size"] == 64


@pytest.mark.parametrize(
    ("zip_bytes", "archives", "threads"),
    [(100_000_000, 20, 5), (5_000_000, 150, 2), (5_000_000, 2, 8), (100_000_000, 1, 16)],
)
def test_archives_share_the_cores_as_in_the_workflow(zip_bytes: int, archives: int, threads: int) -> None:
    assert crop_jobs.threads_per_archive(zip_bytes, archives, cores=16) == threads


class Sleeper(CropJob):
    """A job that sleeps."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", f"import time; time.sleep(0.3); print('said'); raise SystemExit({self.archive})"]


def test_no_more_jobs_run_at_once_than_there_are_cores_for(tmp_path: Path) -> None:
    jobs = [Sleeper(str(number), tmp_path, tmp_path, tmp_path, tmp_path, threads=2) for number in range(3)]
    finished = crop_jobs.run_all(jobs, cores=4)
    assert {(each.archive, each.status, each.output) for each in finished} == {
        (str(number), number, "said\n") for number in range(3)
    }
    last = next(each for each in finished if each.archive == "2")
    assert last.started >= min(each.ended for each in finished if each.archive != "2")
    assert finished == sorted(finished, key=lambda each: each.ended)
    assert all(isinstance(each, Finished) for each in finished)
