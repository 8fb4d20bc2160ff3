from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pynvml
import pytest

from helpers.project import ROOT
from zipcrop.errors import MachineError
from zipcrop.process import gpu
from zipcrop.process.gpu import GPU, Lease

UUIDS = ["GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3", "GPU-dddd-4"]
FOUR = [GPU(str(number), uuid) for number, uuid in enumerate(UUIDS)]
# Holds a GPU until it is told to end, or killed.
HOLDER = """
import pathlib, sys
from zipcrop.process import gpu
gpus = [gpu.GPU(uuid, uuid) for uuid in sys.argv[3].split(",")]
with gpu.lease(gpus, int(sys.argv[2]), pathlib.Path(sys.argv[1])) as mine:
    print(",".join(each.gpu.uuid for each in mine), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that knows four GPUs."""
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 4)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", UUIDS.__getitem__)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        (None, [GPU(uuid, uuid) for uuid in UUIDS]),
        ("", []),
        ("-1", []),
        ("2", [GPU("2", UUIDS[2])]),
        ("3,1", [GPU("3", UUIDS[3]), GPU("1", UUIDS[1])]),
        ("0, 1", [GPU("0", UUIDS[0]), GPU("1", UUIDS[1])]),
        ("1,1", [GPU("1", UUIDS[1])]),
        # CUDA does not look beyond the first one that it does not know.
        ("1,-1,2", [GPU("1", UUIDS[1])]),
        ("0,4,2", [GPU("0", UUIDS[0])]),
        ("0,GPU-cc", [GPU("0", UUIDS[0]), GPU("GPU-cc", UUIDS[2])]),
        ("GPU-xyz,0", []),
        ("MIG-abc", [GPU("MIG-abc", "MIG-abc")]),
        ("NoDevFiles", []),  # Slurm may write this where a job has none
    ],
)
@pytest.mark.usefixtures("four_gpus")
def test_visible_obeys_the_environment(names: str | None, seen: list[GPU], monkeypatch: pytest.MonkeyPatch) -> None:
    if names is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
    assert gpu.visible() == seen


def test_without_a_driver_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # as of a pretended one
    assert gpu.visible() == []


def gpus(leases: list[Lease]) -> list[GPU]:
    return [lease.gpu for lease in leases]


def test_each_lease_has_a_gpu_of_its_own_until_it_ends(tmp_path: Path) -> None:
    with gpu.lease(FOUR, 1, tmp_path) as one:
        with gpu.lease(FOUR, 1, tmp_path) as other:
            assert (gpus(one), gpus(other)) == (FOUR[:1], FOUR[1:2])
            with gpu.lease(FOUR, 2, tmp_path) as two:
                assert gpus(two) == FOUR[2:]
        with gpu.lease(FOUR, 1, tmp_path) as other:
            assert gpus(other) == FOUR[1:2]


def test_a_job_gets_no_more_than_there_are(tmp_path: Path) -> None:
    with gpu.lease(FOUR[:2], 3, tmp_path) as all_of_them:
        assert gpus(all_of_them) == FOUR[:2]


def test_more_jobs_than_gpus_share_them_evenly(tmp_path: Path) -> None:
    def take() -> tuple[contextlib.AbstractContextManager[list[Lease]], GPU]:
        lease = gpu.lease(FOUR[:2], 1, tmp_path)
        return lease, lease.__enter__()[0].gpu

    taken = [take() for _ in range(4)]
    assert [each.name for _, each in taken] == ["0", "1", "0", "1"]
    for lease, each in taken:
        if each.name == "1":
            lease.__exit__(None, None, None)
    taken += [take() for _ in range(3)]
    assert [each.name for _, each in taken[4:]] == ["1", "1", "0"]


def test_a_gpu_is_the_same_under_another_name(tmp_path: Path) -> None:
    with gpu.lease([GPU("0", "GPU-x")], 1, tmp_path), gpu.lease([GPU("GPU-x", "GPU-x"), FOUR[1]], 1, tmp_path) as other:
        assert gpus(other) == [FOUR[1]]


def test_a_folder_that_cannot_be_used_is_the_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="leasing a GPU in"), gpu.lease(FOUR, 1, tmp_path / "file"):
        pass


def test_a_folder_that_is_anothers_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(MachineError, match="Permission denied while leasing a GPU"), gpu.lease(FOUR, 1, tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def start(folder: Path, *uuids: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(folder), "1", ",".join(uuids or UUIDS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow" / "scripts")}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_killed_job_frees_its_gpu_at_once(tmp_path: Path) -> None:
    with start(tmp_path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == f"{UUIDS[0]}\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with gpu.lease(FOUR, 1, tmp_path) as mine:
            assert gpus(mine) == FOUR[:1]


def hold(lease: Lease) -> None:
    time.sleep(60)


HANDING_ON = """
import multiprocessing, pathlib, sys
from zipcrop.process import gpu
sys.path.append(sys.argv[2])
from test_gpu import FOUR, hold
if __name__ == "__main__":
    with gpu.lease(FOUR, 1, pathlib.Path(sys.argv[1])) as mine:
        worker = multiprocessing.get_context("spawn").Process(target=hold, args=(mine[0],))
        worker.start()
        print(worker.pid, flush=True)
        worker.join()
"""


def worker_of_a_killed_job(folder: Path) -> int:
    """The process that holds the first of four GPUs, after its job."""
    script = folder / "job.py"
    script.write_text(HANDING_ON)
    paths = [str(ROOT / folder) for folder in ("workflow/scripts", "tests", "tests/unit/process")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(script), str(folder), str(ROOT / "tests" / "unit" / "process")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        worker = int(job.stdout.readline())
        job.kill()
        job.wait()
    return worker


def test_a_job_waits_for_a_gpu_that_a_killed_one_is_leaving_rather_than_share_one(tmp_path: Path) -> None:
    worker = worker_of_a_killed_job(tmp_path)
    with start(tmp_path, *UUIDS[1:]) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == f"{UUIDS[1]}\n"
        killer = threading.Timer(0.5, os.kill, (worker, signal.SIGKILL))
        killer.start()
        # The running job comes first, so that it would be the one to share with.
        with gpu.lease([FOUR[1], FOUR[0]], 1, tmp_path) as mine:
            assert gpus(mine) == FOUR[:1]
        other.communicate("end\n")


def test_a_job_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_LEAVING", 0.2)
    worker = worker_of_a_killed_job(tmp_path)
    try:
        with gpu.lease(FOUR[:1], 1, tmp_path) as mine:
            assert gpus(mine) == FOUR[:1]
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_gpu_is_not_free_before_the_last_worker_of_a_killed_job_is_gone(tmp_path: Path) -> None:
    worker = worker_of_a_killed_job(tmp_path)
    try:
        with gpu.lease(FOUR, 1, tmp_path) as mine:
            assert gpus(mine) == FOUR[1:2]
    finally:
        os.kill(worker, signal.SIGKILL)
    for _ in range(100):
        with gpu.lease(FOUR, 1, tmp_path) as mine:
            if gpus(mine) == FOUR[:1]:
                return
        time.sleep(0.1)
    raise AssertionError("the GPU has not become free")


def test_no_two_jobs_hold_one_gpu_whichever_are_killed(tmp_path: Path) -> None:
    """Four at a time, as many as there are GPUs; about a third of them is killed. With whole jobs, and more of them, in
    tests/workflow/test_gpus.py."""
    draw = random.Random(0)
    holding: dict[str, subprocess.Popen[str]] = {}
    killed = 0
    for _ in range(60):
        if len(holding) == len(UUIDS):
            job = holding.pop(draw.choice(list(holding)))
            if draw.random() < 0.2:
                job.kill()
                killed += 1
            job.communicate("end\n", timeout=60)
        job = start(tmp_path)
        if draw.random() < 0.2:  # while it starts, chooses, or holds one already
            time.sleep(draw.random() * 0.2)
            job.kill()
            killed += 1
            job.communicate(timeout=60)
            continue
        assert job.stdout is not None
        held = job.stdout.readline().strip()
        assert held in set(UUIDS) - set(holding)
        holding[held] = job
    for job in holding.values():
        job.communicate("end\n", timeout=60)
    assert killed > 10
