"""Runs on pretended GPUs: a driver that knows four, and engine processes with a network that needs none."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers import output
from helpers.files import make_zip
from helpers.gpus import PretendedGPUs
from helpers.photos import encoded
from helpers.workflow import Workflow
from zipcrop.process import gpu


@pytest.fixture
def four(tmp_path: Path) -> Iterator[PretendedGPUs]:
    gpus = PretendedGPUs(tmp_path / "gpus", count=4, torch=True)  # to prepare the model
    yield gpus
    gpus.remove()


def workflow_with(folder: Path, archives: int, photos: int) -> Workflow:
    folder.mkdir()
    workflow = Workflow.create(folder)
    # The pixels decide whether there is a person.
    pictures = [encoded(("bus", "zidane", "empty")[k % 3], scale=0.1 + k / 200) for k in range(photos)]
    for number in range(archives):
        members = [(f"{number}_{k}.jpg", picture) for k, picture in enumerate(pictures)]
        make_zip(folder / "raw_zips" / f"{number}.zip", members)
    return workflow


def records(workflow: Workflow) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((workflow.output / "manifests").glob("*.json"))]


def test_archives_share_the_gpus_that_are_visible(tmp_path: Path, four: PretendedGPUs) -> None:
    workflow = workflow_with(tmp_path / "run", 4, 3)
    environment = {**four.environment, "CUDA_VISIBLE_DEVICES": f"3,{four.uuids[1]}"}
    result = workflow.run("--cores", "8", "--resources", "gpu=2", env=environment)
    assert result.returncode == 0, result.stdout
    assert {tuple(record["gpus"]) for record in records(workflow)} == {(four.uuids[3],), (four.uuids[1],)}
    # Four archives share two GPUs, and the cores.
    assert {(record["threads"], record["device"]) for record in records(workflow)} == {(2, "cuda")}
    logs = {path.stem: path.read_text() for path in (workflow.folder / "logs" / "engine").iterdir()}
    assert logs.keys() == {four.uuids[3], four.uuids[1]}
    assert all(log.count("starts for") == 1 for log in logs.values())
    assert four.are_free()
    assert workflow.jobs("--cores", "8", "--resources", "gpu=4") == {}


@pytest.mark.slow
def test_nothing_outlives_a_snakemake_that_is_killed(tmp_path: Path, four: PretendedGPUs) -> None:
    workflow = workflow_with(tmp_path / "run", 3, 40)
    with workflow.start("--cores", "3", "--resources", "gpu=1", env=four.environment) as snakemake:
        while not four.engines() or not output.journalled(workflow.output):
            assert snakemake.poll() is None
            time.sleep(0.02)
        jobs = running_jobs(snakemake.pid)
        snakemake.kill()
        snakemake.wait()
        assert four.are_free()
        _, alive = psutil.wait_procs(jobs, timeout=10)
        assert alive == []
    result = workflow.run("--cores", "3", "--resources", "gpu=1", env=four.environment)
    assert result.returncode == 0, result.stdout
    assert {row["members"] for row in workflow.summary().values()} == {"40"}


@pytest.mark.slow
def test_no_run_uses_more_gpus_than_it_may(tmp_path: Path, four: PretendedGPUs) -> None:
    workflow = workflow_with(tmp_path / "run", 1, 30)
    result = workflow.run("--cores", "8", "--resources", "gpu=1", config=["gpus_per_archive=3"], env=four.environment)
    assert result.returncode == 0, result.stdout
    assert [record["gpus"] for record in records(workflow)] == [four.uuids[:1]]
    result = workflow.run("-F", "--cores", "8", "--resources", "gpu=0", env=four.environment)
    assert result.returncode == 0, result.stdout
    assert [record["device"] for record in records(workflow)] == ["cpu"]
    result = workflow.run("-F", "--cores", "8", "--resources", "gpu=0", config=["device=cuda"], env=four.environment)
    assert result.returncode == 1
    assert "the run may use no GPU; give it --resources gpu=1, or more" in result.stdout


@pytest.mark.slow
def test_cores_are_shared_by_the_archives_that_are_to_be_done(tmp_path: Path, four: PretendedGPUs) -> None:
    workflow = workflow_with(tmp_path / "run", 6, 2)
    arguments = ("--cores", "12", "--resources", "gpu=1")
    result = workflow.run(*arguments, env=four.environment)
    assert result.returncode == 0, result.stdout
    # The archives are small, and there are more of them than run at a time.
    assert {record["threads"] for record in records(workflow)} == {2}
    make_zip(workflow.folder / "raw_zips" / "new.zip", [("a.jpg", encoded("bus", scale=0.2))])
    result = workflow.run(*arguments, env=four.environment)
    assert result.returncode == 0, result.stdout
    assert json.loads((workflow.output / "manifests/new.json").read_text())["threads"] == 12


@pytest.mark.slow
def test_a_giant_archive_may_have_several_gpus(tmp_path: Path, four: PretendedGPUs) -> None:
    workflow = workflow_with(tmp_path / "run", 1, 30)
    result = workflow.run("--cores", "8", "--resources", "gpu=4", config=["gpus_per_archive=3"], env=four.environment)
    assert result.returncode == 0, result.stdout
    (record,) = records(workflow)
    assert record["gpus"] == four.uuids[:3]
    assert (record["workers"], record["threads"]) == (3, 8)


@pytest.mark.slow
def test_two_runs_have_their_own_gpus(tmp_path: Path, four: PretendedGPUs) -> None:
    long, short = workflow_with(tmp_path / "long", 60, 10), workflow_with(tmp_path / "short", 2, 10)
    arguments = ("--cores", "2", "--resources", "gpu=2")
    with long.start(*arguments, env=four.environment) as running:
        while len(four.engines()) < 2:
            assert running.poll() is None
            time.sleep(0.02)
        result = short.run(*arguments, env=four.environment)
        assert result.returncode == 0, result.stdout
        assert running.poll() is None
    used = [{uuid for record in records(workflow) for uuid in record["gpus"]} for workflow in (long, short)]
    assert used[0]
    assert used[0].isdisjoint(used[1])


@pytest.mark.slow
def test_200_random_kills_of_jobs_and_engine_processes_change_nothing(tmp_path: Path, four: PretendedGPUs) -> None:
    undisturbed = workflow_with(tmp_path / "undisturbed", 90, 20)
    result = undisturbed.run("--cores", "4", "--resources", "gpu=2", env=four.environment)
    assert result.returncode == 0, result.stdout
    workflow = workflow_with(tmp_path / "run", 90, 20)
    draw = random.Random(0)
    killed = {"job": 0, "engine": 0}
    arguments = ("--cores", "4", "--resources", "gpu=2", "--retries", "100")
    with (
        workflow.start(*arguments, env=four.environment) as snakemake,
        ThreadPoolExecutor(1) as reader,
    ):
        assert snakemake.stdout is not None
        said = reader.submit(snakemake.stdout.read)
        # A GPU whose engine process ends three times before it has ever worked is taken for one that cannot be used.
        while not all(any(gpu.LEASES.glob(f"{name}.*.worked")) for name in four.uuids[:2]):
            assert snakemake.poll() is None
            time.sleep(0.02)
        while snakemake.poll() is None:
            time.sleep(draw.random() * 0.35)
            # Not for ever, or the last ones would never come to their end.
            # Engine processes are fewer, and gone for a while after each kill.
            running = {"job": running_jobs(snakemake.pid), "engine": four.engines()}
            kind = "engine" if running["engine"] and draw.random() < 0.7 else "job"
            if sum(killed.values()) < 200 and running[kind]:
                with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                    draw.choice(running[kind]).kill()
                    killed[kind] += 1
        assert snakemake.returncode == 0, said.result()[-5000:]
    assert sum(killed.values()) == 200
    assert min(killed.values()) > 20
    assert output.results(workflow.output) == output.results(undisturbed.output)
    assert four.are_free()


def running_jobs(snakemake: int) -> list[psutil.Process]:
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):  # it, or one of them, has just ended
        for process in psutil.Process(snakemake).children():
            if "crop_archive.py" in " ".join(process.cmdline()):
                found.append(process)
    return found
