"""Runs on pretended GPUs: a driver that knows four, and an engine on the CPU that stands in for CUDA and notes which
job uses which GPU."""

from __future__ import annotations

import contextlib
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from helpers.environment import patched_everywhere
from helpers.files import make_zip
from helpers.photos import encoded
from helpers.workflow import Workflow
from zipcrop.process import gpu

DRIVER = """
class NVMLError(Exception):
    pass

nvmlInit = nvmlShutdown = lambda: None
nvmlDeviceGetCount = lambda: 4
nvmlDeviceGetHandleByIndex = lambda index: index
nvmlDeviceGetUUID = lambda index: UUIDS[index]
"""
# Another loader of engines, which notes its job and GPU, and whether another job is on that GPU already.
ENGINE = """
import fcntl

FOLDER = os.path.dirname(__file__)

def patch(engine):
    load = engine.load

    def watched(model, name, device, threads, batch, thresholds):
        assert (name, device) == ("torch", "cuda")
        gpu = os.environ["CUDA_VISIBLE_DEVICES"]
        engine.held = open(os.path.join(FOLDER, "held." + gpu), "a")
        try:
            fcntl.flock(engine.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            what = "alone"
        except BlockingIOError:
            what = "beside another"
        with open(os.path.join(FOLDER, "used"), "a") as file:
            print(os.getppid(), gpu, what, file=file)
        return load(model, "openvino", "cpu", threads, batch, thresholds)

    engine.load = watched
"""


class Pretended:
    """Four GPUs for the runs of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Leases hold for the whole machine: with the same GPUs, tests that run at once would share them.
        self.uuids = [f"GPU-{number}-{uuid.uuid4()}" for number in range(4)]
        self.environment = patched_everywhere(folder, "zipcrop.detect.engine", ENGINE)
        (folder / "pynvml.py").write_text(f"UUIDS = {self.uuids}\n{DRIVER}")

    def used(self) -> list[tuple[str, str, str]]:
        """Job, GPU, and whether it was alone there, for each worker."""
        lines = (self.folder / "used").read_text().splitlines()
        return [(job, gpu, what) for job, gpu, what in (line.split(" ", 2) for line in lines)]


@pytest.fixture
def pretended(tmp_path: Path) -> Iterator[Pretended]:
    four = Pretended(tmp_path / "gpus")
    yield four
    for name in four.uuids:
        for lease in gpu.LEASES.glob(f"{name}.*"):
            lease.unlink()


def workflow_with(folder: Path, archives: int, photos: int) -> Workflow:
    folder.mkdir()
    workflow = Workflow.create(folder)
    photo = encoded("bus", scale=0.2)
    for number in range(archives):
        members = [(f"{number}_{k}.jpg", photo) for k in range(photos)]
        make_zip(folder / "raw_zips" / f"{number}.zip", members)
    return workflow


def test_jobs_take_the_visible_gpus_in_turns(tmp_path: Path, pretended: Pretended) -> None:
    workflow = workflow_with(tmp_path / "run", 4, 1)
    environment = {**pretended.environment, "CUDA_VISIBLE_DEVICES": f"3,{pretended.uuids[1]}"}
    result = workflow.run("--cores", "8", "--resources", "gpu=2", env=environment)
    assert result.returncode == 0, result.stdout
    records = [json.loads((workflow.folder / f"output/manifests/{number}.json").read_text()) for number in range(4)]
    assert {tuple(record["gpus"]) for record in records} == {(pretended.uuids[3],), (pretended.uuids[1],)}
    assert {(record["threads"], record["device"]) for record in records} == {(4, "cuda")}
    # As they were called, for CUDA may know them by those names alone.
    assert {gpu for _, gpu, _ in pretended.used()} == {"3", pretended.uuids[1]}
    assert {what for *_, what in pretended.used()} == {"alone"}
    assert workflow.jobs("--cores", "8", "--resources", "gpu=4") == {}


@pytest.mark.slow
def test_a_giant_archive_may_have_several_gpus(tmp_path: Path, pretended: Pretended) -> None:
    # So many that no worker has its engine too late for any.
    workflow = workflow_with(tmp_path / "run", 1, 300)
    result = workflow.run(
        "--cores", "8", "--resources", "gpu=4", config=["gpus_per_archive=3"], env=pretended.environment
    )
    assert result.returncode == 0, result.stdout
    record = json.loads((workflow.folder / "output/manifests/0.json").read_text())
    assert record["gpus"] == pretended.uuids[:3]
    assert (record["workers"], record["threads"]) == (3, 8)
    assert Counter(gpu for _, gpu, _ in pretended.used()) == dict.fromkeys(pretended.uuids[:3], 1)


@pytest.mark.slow
def test_no_two_of_200_jobs_with_random_kills_are_on_one_gpu(tmp_path: Path, pretended: Pretended) -> None:
    workflow = workflow_with(tmp_path / "run", 200, 1)
    draw = random.Random(0)
    killed = 0
    arguments = ("--cores", "4", "--resources", "gpu=4", "--retries", "20")
    with (
        workflow.start(*arguments, env=pretended.environment) as snakemake,
        ThreadPoolExecutor(1) as reader,
    ):
        assert snakemake.stdout is not None
        output = reader.submit(snakemake.stdout.read)
        while snakemake.poll() is None:
            time.sleep(draw.random() * 2)
            # Not for ever, or the last ones would never come to their end.
            if killed < 70 and (jobs := running_jobs(snakemake.pid)):
                draw.choice(jobs).kill()
                killed += 1
        assert snakemake.returncode == 0, output.result()[-5000:]
    used = pretended.used()
    assert killed == 70
    assert {gpu for _, gpu, _ in used} == set(pretended.uuids)
    assert {what for *_, what in used} == {"alone"}
    assert len(workflow.summary()) == 200


def running_jobs(snakemake: int) -> list[psutil.Process]:
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):  # it, or one of them, has just ended
        for process in psutil.Process(snakemake).children():
            if "crop_archive.py" in " ".join(process.cmdline()):
                found.append(process)
    return found
