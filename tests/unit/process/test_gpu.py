from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from helpers.project import ROOT
from zipcrop.errors import MachineError
from zipcrop.process import gpu
from zipcrop.process.gpu import GPU, Leases, Run
from zipcrop.process.orphan import ProcessId

UUIDS = ["GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3", "GPU-dddd-4"]
FOUR = [GPU(str(number), uuid) for number, uuid in enumerate(UUIDS)]
# Takes the lease of an engine process, and holds it until it is killed.
HOLDER = """
import pathlib, sys, time
from zipcrop.process import gpu, orphan
folder, uuid, owner = sys.argv[1:]
run = gpu.Run(orphan.ProcessId.parse(owner), "abc")
leases = gpu.Leases(pathlib.Path(folder))
with leases.turn():
    engine = leases.take_engine(gpu.GPU(uuid, uuid), run)
print("held", flush=True)
time.sleep(60)
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


def test_cuda_counts_gpus_as_the_driver_does() -> None:
    """Its own order is by speed, so that a number would mean another GPU on a machine with two kinds."""
    assert gpu.environment(GPU("1", UUIDS[1])) == {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    return Leases(tmp_path / "leases")


def started(*command: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow" / "scripts")}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that the test has started; they end with it."""
    all_of_them: list[subprocess.Popen[str]] = []
    yield all_of_them
    for process in all_of_them:
        process.kill()
        process.communicate()


def new_run(processes: list[subprocess.Popen[str]]) -> Run:
    """A run whose owner is the last one of `processes`, and does nothing."""
    processes.append(started("sleep", "60"))
    owner = ProcessId.of(processes[-1].pid)
    assert owner is not None
    return Run(owner, "abc")


def own_run(network: str = "abc") -> Run:
    owner = ProcessId.of(os.getpid())
    assert owner is not None
    return Run(owner, network)


def hold(leases: Leases, held: GPU, run: Run, processes: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """An engine process of `run` on the GPU `held`."""
    process = started(sys.executable, "-c", HOLDER, str(leases.folder), held.uuid, str(run.owner))
    processes.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_jobs_of_a_run_spread_over_the_gpus_and_then_share_them(leases: Leases) -> None:
    run = own_run()
    held, names = [], []
    for _ in range(5):
        with leases.turn():
            (chosen,) = leases.choose(FOUR, 1, 2, run)
            held.append(leases.take_share(chosen, run))
            if leases.engine_pid(chosen, run) is None:
                held.append(leases.take_engine(chosen, run))
        names.append(chosen.name)
    assert names == ["0", "1", "0", "1", "0"]
    for file in held:
        file.close()
    with leases.turn():
        assert leases.choose(FOUR, 1, 2, run) == FOUR[:1]


def test_a_run_keeps_off_gpus_that_another_one_has(leases: Leases, processes: list[subprocess.Popen[str]]) -> None:
    run = own_run()
    hold(leases, FOUR[0], new_run(processes), processes)
    with leases.turn():
        assert leases.choose(FOUR, 2, 2, run) == FOUR[1:3]
        assert leases.choose(FOUR[:2], 1, 2, run) == FOUR[1:2]
        # Its own one is better than one with a stranger, though the run might use two.
        with leases.take_engine(FOUR[1], run), leases.take_share(FOUR[1], run):
            assert leases.choose(FOUR[:2], 1, 2, run) == FOUR[1:2]
        assert leases.choose(FOUR[:1], 1, 1, run) == FOUR[:1]
        # Another network is another run.
        with leases.take_engine(FOUR[2], own_run("other")):
            assert leases.choose(FOUR, 2, 2, run) == [FOUR[1], FOUR[3]]


def test_a_run_waits_for_a_gpu_that_an_ended_one_is_leaving(
    leases: Leases, processes: list[subprocess.Popen[str]]
) -> None:
    ended = new_run(processes)
    engine = hold(leases, FOUR[0], ended, processes)
    processes[0].kill()
    processes[0].wait()
    killer = threading.Timer(0.5, engine.kill)
    killer.start()
    began = time.monotonic()
    with leases.turn():
        assert leases.choose(FOUR[:1], 1, 1, own_run()) == FOUR[:1]
    assert time.monotonic() - began >= 0.4
    # Where there is another one, nobody waits.
    killer.join()


def test_no_run_waits_for_ever(
    leases: Leases, processes: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "_LEAVING", 0.2)
    ended = new_run(processes)
    engine = hold(leases, FOUR[0], ended, processes)
    processes[0].kill()
    processes[0].wait()
    with leases.turn():
        assert leases.choose(FOUR[:1], 1, 1, own_run()) == FOUR[:1]
        with pytest.raises(MachineError, match=f"GPU-aaaa-1 is still held by process {engine.pid} on .*; end it"):
            leases.take_engine(FOUR[0], ended)


def test_a_killed_engine_process_leaves_its_gpu_at_once(leases: Leases, processes: list[subprocess.Popen[str]]) -> None:
    run = new_run(processes)
    engine = hold(leases, FOUR[0], run, processes)
    with leases.turn():
        assert leases.engine_pid(FOUR[0], run) == engine.pid
        engine.kill()
        leases.take_engine(FOUR[0], run).close()
        assert leases.engine_pid(FOUR[0], run) is None


def test_what_ended_runs_have_left_is_removed_and_nothing_else(
    leases: Leases, processes: list[subprocess.Popen[str]]
) -> None:
    ended, run = new_run(processes), own_run()
    with leases.turn():
        engine, own = leases.take_engine(FOUR[0], ended), leases.take_engine(FOUR[1], run)
        leases.take_share(FOUR[0], ended).close()
        leases.socket(FOUR[0], ended).touch()
        leases.socket(FOUR[1], run).touch()
        assert leases.mark_unusable(FOUR[0], ended, "it is broken")
        assert not leases.mark_unusable(FOUR[0], ended, "it is broken")
        assert leases.why_unusable(FOUR[0], ended) == "it is broken"
        assert leases.why_unusable(FOUR[0], run) == leases.why_unusable(FOUR[1], ended) == ""
        processes[0].kill()
        processes[0].wait()
        leases.sweep()
        engine_name = f"GPU-aaaa-1.{ended}.engine"
        own_names = {f"GPU-aabb-2.{run}.engine", f"GPU-aabb-2.{run}.socket", "turn"}
        assert {path.name for path in leases.folder.iterdir()} == own_names | {
            engine_name,
            f"GPU-aaaa-1.{ended}.socket",
        }
        engine.close()
        leases.sweep()
        assert {path.name for path in leases.folder.iterdir()} == own_names
        own.close()


def test_parts_of_gpus_have_file_names() -> None:
    assert GPU("x", "MIG-GPU-1/2/0").file_name == "MIG-GPU-1-2-0"


def test_a_folder_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"File exists|Not a directory"), Leases(tmp_path / "file").turn():
        pass


def test_a_folder_that_is_anothers_is_not_used(leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(PermissionError), leases.turn():
        pass
    assert not list(leases.folder.iterdir())


def test_one_process_at_a_time_has_the_turn(leases: Leases) -> None:
    order = []

    def take(name: str) -> None:
        with leases.turn():
            order.append(name)
            time.sleep(0.05)
            order.append(name)

    threads = [threading.Thread(target=take, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [order[at] for at in (0, 2, 4)] == [order[at] for at in (1, 3, 5)]
