"""The pure parts of the GPU check; `gpu_check.sh --cpu` rehearses the whole."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest

import gpu_check
import gpu_network
import gpu_persons
import gpu_results
from gpu_jobs import Speeds
from helpers.project import ROOT

SCRIPT = ROOT / "benchmarks" / "gpu_check.sh"
HEADER = "archive,member,status,x1,y1,x2,y2,confidence"


def test_the_script_runs_every_step_within_ten_minutes() -> None:
    lines = [line.split() for line in SCRIPT.read_text().splitlines() if line.startswith("step ")]
    assert [name for _, name, _ in lines] == list(gpu_results.STEPS) == list(gpu_check.steps())
    assert "most=590" in SCRIPT.read_text()


@pytest.mark.parametrize("arguments", [[], ["--cpu"], ["a", "b", "c"]])
def test_the_script_says_how_it_is_called(arguments: list[str]) -> None:
    done = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: PYTHON=python3 benchmarks/gpu_check.sh [--cpu] OUT [PHOTOS]" in done.stderr


def test_the_table_is_made_of_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu_results.Result("facts", tmp_path / "facts.json").figure("CPU", "16 cores")
    assert gpu_check.main(["table", f"--out={tmp_path}", f"--scratch={tmp_path}", "--cpu"]) == 0
    assert "A rehearsal on a CPU" in capsys.readouterr().out
    assert "16 cores" in (tmp_path / "table.md").read_text()
    assert json.loads((tmp_path / "results.json").read_text())["facts"]["verdict"] == "INCOMPLETE"


def test_what_is_missing_is_stood_in_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = importlib.metadata.version

    def version(package: str) -> str:
        if package == "ultralytics-opencv-headless":
            raise importlib.metadata.PackageNotFoundError
        return missing(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert gpu_check.stand_in(tmp_path, on_gpu=False) == ["ultralytics-opencv-headless", "the GPU"]
    found = importlib.metadata.Distribution.discover(name="ultralytics-opencv-headless", path=[str(tmp_path)])
    assert [each.version for each in found] == ["0"]
    assert {path.name for path in tmp_path.glob("*.py")} == {"pynvml.py", "sitecustomize.py"}


def test_the_driver_is_stood_in_for_with_the_names_that_nvidia_smi_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n[ \"$1\" = --query-gpu=uuid ] && printf 'GPU-1\\nGPU-2\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pynvml" else find(name))
    assert gpu_check.stand_in(tmp_path / "stand-ins", on_gpu=True) == ["pynvml"]
    assert (tmp_path / "stand-ins" / "pynvml.py").read_text().startswith("UUIDS = ['GPU-1', 'GPU-2']\n")
    assert not (tmp_path / "stand-ins" / "sitecustomize.py").exists()


@pytest.mark.parametrize(
    ("ends", "at_once", "expected"),
    [
        # Three at once: 5 s of start, then one each 0.5 s.
        ([5.5, 6, 6.5, 7, 7.5, 8, 8.5, 9], 3, Speeds(5.0, 200.0, 800 / 9)),
        ([4.0, 5.0], 3, Speeds(0.0, 40.0, 40.0)),
        ([2.0], 1, Speeds(0.0, 50.0, 50.0)),
    ],
)
def test_speeds_follow_from_the_ends_of_jobs(ends: list[float], at_once: int, expected: Speeds) -> None:
    found = Speeds.of(ends, 100, at_once)
    assert (found.start, found.steady, found.total) == pytest.approx((expected.start, expected.steady, expected.total))


def manifest(path: Path, *rows: str) -> Path:
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_persons_are_compared_with_their_likes(tmp_path: Path) -> None:
    expected = manifest(
        tmp_path / "cpu.csv",
        "a,1.jpg,person,0,0,100,100,0.9",
        "a,1.jpg,person,200,0,300,100,0.5",
        "a,2.jpg,person,0,0,10,10,0.3",
        "a,2.jpg,person,50,50,60,60,0.1",
        "a,3.jpg,no_person,,,,,",
    )
    found = manifest(
        tmp_path / "gpu.csv",
        "a,1.jpg,person,200,0,300,100,0.52",
        "a,1.jpg,person,0,0,100,99,0.9",
        "a,2.jpg,no_person,,,,,",
        "a,3.jpg,person,0,0,10,10,0.4",
    )
    persons = gpu_persons.persons_in([expected])
    assert len(persons) == 3
    compared = gpu_persons.compare(persons, gpu_persons.persons_in([found]), 0.25)
    assert (compared.persons, compared.missing, compared.new) == (3, 1, 1)
    assert (compared.least_iou, compared.greatest_score_error) == pytest.approx((0.99, 0.02))
    same = gpu_persons.compare(persons, persons, 0.0)
    assert (same.persons, same.missing, same.new, same.least_iou) == (4, 0, 0, 1.0)


def test_rectangles_are_multiples_of_the_stride_and_all_different() -> None:
    shapes = gpu_network.rectangles_of(640)
    assert shapes == [(480, 640), (448, 640), (640, 480), (640, 640)]
    others = gpu_network.others_than(shapes, 640, 16)
    assert len({*shapes, *others}) == 20
    assert all(side % 32 == 0 and side > 0 for shape in others for side in shape)
