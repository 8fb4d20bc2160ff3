"""A job's side of the engine processes, with real ones, whose network is a formula."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest

from helpers.effort import time_limit
from helpers.engine_process import SPEC, Client, environment, noise, short_folder, wait_until
from helpers.formula import answer
from helpers.project import ROOT, SCRIPTS
from zipcrop.detect import lease
from zipcrop.detect.lease import Address, Engines, Spec, Start
from zipcrop.errors import MachineError
from zipcrop.process.gpu import GPU, Leases, Run
from zipcrop.process.orphan import ProcessId

ONE, TWO = GPU("0", "GPU-1"), GPU("MIG-a/1/0", "MIG-a/1/0")
OTHER = Spec(SPEC.model, "another model", SPEC.image_size, SPEC.stride, SPEC.batch)


@dataclass
class Machine:
    """A machine on which runs lease GPUs. A process that sleeps stands for each Snakemake."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    owners: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def leases(self) -> Leases:
        return Leases(self.folder / "leases")

    def new_run(self) -> int:
        """The number of the process of another run."""
        self.owners.append(subprocess.Popen(["sleep", "600"]))
        return self.owners[-1].pid

    def engines(self, owner: int, spec: Spec = SPEC) -> Engines:
        """Those of a job of the run of `owner`."""
        with self.monkeypatch.context() as patch:
            patch.setattr(os, "getppid", lambda: owner)
            return Engines(spec, self.folder / "logs", self.leases)

    def processes(self) -> list[psutil.Process]:
        """All engine processes that are there."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self.folder) in " ".join(process.cmdline()) and str(lease.SCRIPT) in process.cmdline():
                    found.append(process)
        return found

    def pid(self, address: Address, owner: int) -> int | None:
        """The engine process at an address."""
        owning = ProcessId.of(owner)
        assert owning is not None
        return self.leases.engine_pid(address.gpu, Run(owning, address.spec.digest))

    def swept(self) -> list[str]:
        """The files among the leases, without those of runs that have ended."""
        with self.leases.turn():
            self.leases.sweep()
        return [path.name for path in self.leases.folder.iterdir()]

    def end(self) -> None:
        """Ends all runs."""
        for owner in self.owners:
            owner.kill()
            owner.wait()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine on which nothing is left at the end."""
    with short_folder() as folder, time_limit(150):
        for name, value in environment(folder / "patch", {}).items():
            monkeypatch.setenv(name, value)
        made = Machine(folder, monkeypatch)
        try:
            yield made
            made.end()
            wait_until(lambda: not made.processes())
            # The kernel frees a lease a little later than it forgets the command line.
            wait_until(lambda: made.swept() == ["turn"])
        finally:
            made.end()
            for process in made.processes():
                process.kill()


def assert_works(address: Address) -> None:
    with Client(address).hello() as client:
        client.photo(0, noise(0))
        np.testing.assert_array_equal(client.answers(1)[0], answer(noise(0)))


def starts(machine: Machine) -> int:
    return sum(path.read_text().count("starts for") for path in (machine.folder / "logs").iterdir())


def test_the_first_job_of_a_run_starts_the_process_and_others_connect(machine: Machine) -> None:
    owner = machine.new_run()
    with machine.engines(owner).lease([ONE], 1, 1) as (first,):
        assert_works(first)
        pid = machine.pid(first, owner)
        with machine.engines(owner).lease([ONE], 1, 1) as (second,):
            assert second == first
            assert_works(second)
    with machine.engines(owner).lease([ONE], 1, 1) as (third,):
        assert_works(third)
        assert machine.pid(third, owner) == pid
        assert [process.pid for process in machine.processes()] == [pid]
    assert starts(machine) == 1
    assert first.log.read_text().count("sees 0 PCI_BUS_ID") == 1


def test_jobs_that_come_at_once_start_one_process(machine: Machine) -> None:
    engines = [machine.engines(machine.new_run())] * 6

    def use(each: Engines) -> None:
        with each.lease([ONE], 1, 1) as (address,):
            assert_works(address)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(use, engines))
    assert starts(machine) == 1


def test_the_process_is_nobodys_child_and_keeps_no_pipe_of_the_job_open(machine: Machine) -> None:
    code = f"""
import sys
from pathlib import Path
from helpers.engine_process import SPEC
from zipcrop.detect.lease import Engines
from zipcrop.process.gpu import GPU, Leases
with Engines(SPEC, Path("logs"), Leases(Path({str(machine.leases.folder)!r}))).lease([GPU("0", "GPU-1")], 1, 1):
    print("leased")
"""
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(SCRIPTS), str(ROOT / "tests")])
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=machine.folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,  # a reader of the pipe would wait as long as the process is there
        check=True,
    )
    assert result.stdout == "leased\n"
    (process,) = machine.processes()
    assert process.ppid() != os.getpid()
    assert os.getsid(process.pid) == os.getpgid(process.pid) != os.getsid(0)
    with machine.engines(os.getpid()).lease([ONE], 1, 1) as (address,):
        assert_works(address)
        assert machine.pid(address, os.getpid()) == process.pid
        machine.engines(os.getpid()).kill(address)
    wait_until(lambda: not machine.processes())
    for left in machine.leases.folder.glob("GPU-*"):  # their run is that of the tests, which goes on
        left.unlink()


def test_after_a_process_was_killed_the_next_job_starts_another_one(machine: Machine) -> None:
    owner = machine.new_run()
    with machine.engines(owner).lease([ONE], 1, 1) as (address,):
        assert_works(address)
        (process,) = machine.processes()
        process.kill()
        wait_until(lambda: not machine.processes())
        assert address.path.exists()
        with machine.engines(owner).lease([ONE], 1, 1) as (again,):
            assert again == address
            assert_works(again)
            assert machine.pid(again, owner) != process.pid
    assert starts(machine) == 2


def test_an_engine_that_hangs_is_killed(machine: Machine) -> None:
    owner = machine.new_run()
    engines = machine.engines(owner)
    with engines.lease([ONE], 1, 1) as (address,):
        assert_works(address)
        (process,) = machine.processes()
        process.suspend()
        engines.kill(address)
        assert machine.pid(address, owner) is None
        wait_until(lambda: not machine.processes())
        engines.kill(address)  # there is none any more
    with engines.lease([ONE], 1, 1) as (address,):
        assert_works(address)


def test_two_runs_get_different_gpus_as_long_as_there_are_enough(machine: Machine) -> None:
    gpus = [ONE, TWO]
    first, second, third = (machine.new_run() for _ in range(3))
    with (
        machine.engines(first).lease(gpus, 1, 1) as (one,),
        machine.engines(second).lease(gpus, 1, 1) as (two,),
        machine.engines(third).lease(gpus, 1, 1) as (three,),
        machine.engines(first).lease(gpus, 1, 1) as (again,),
    ):
        assert again == one
        assert {one.gpu, two.gpu} == {ONE, TWO}
        assert three.path not in (one.path, two.path)
        for address in (one, two, three):
            assert_works(address)
        assert len(machine.processes()) == 3


def test_an_archive_may_have_several_gpus_each_with_a_process_that_sees_it_alone(machine: Machine) -> None:
    with machine.engines(machine.new_run()).lease([ONE, TWO], 2, 2) as addresses:
        assert [address.gpu for address in addresses] == [ONE, TWO]
        for address in addresses:
            assert_works(address)
            assert f"sees {address.gpu.name} PCI_BUS_ID" in address.log.read_text()
        assert len({address.log for address in addresses}) == 2


def test_jobs_of_a_run_spread_over_its_gpus(machine: Machine) -> None:
    owner = machine.new_run()
    with (
        machine.engines(owner).lease([ONE, TWO], 1, 2) as (one,),
        machine.engines(owner).lease([ONE, TWO], 1, 2) as (two,),
    ):
        assert {one.gpu, two.gpu} == {ONE, TWO}


def test_another_model_of_the_same_run_gets_another_process(machine: Machine) -> None:
    owner = machine.new_run()
    with (
        machine.engines(owner).lease([ONE], 1, 1) as (one,),
        machine.engines(owner, OTHER).lease([ONE], 1, 1) as (two,),
    ):
        assert one.path != two.path
        assert_works(one)
        assert_works(two)
        assert len(machine.processes()) == 2


def test_a_socket_that_a_killed_process_has_not_closed_yet_is_not_taken_for_one_that_works(machine: Machine) -> None:
    owner = machine.new_run()
    engines = machine.engines(owner)
    with engines.lease([ONE], 1, 1) as (address,):
        assert_works(address)
        engines.kill(address)
    address.path.unlink()
    with lease.new_socket() as closing:
        closing.bind(str(address.path))
        closing.listen(1)
        with engines.lease([ONE], 1, 1) as (address,):
            assert_works(address)


def test_a_process_that_is_ending_is_waited_for_and_not_connected_to(machine: Machine) -> None:
    owner = machine.new_run()
    engines = machine.engines(owner)
    with engines.lease([ONE], 1, 1) as (address,):
        assert_works(address)
    (process,) = machine.processes()
    process.suspend()
    of = ProcessId.of
    machine.monkeypatch.setattr(ProcessId, "of", lambda pid: None if pid == process.pid else of(pid))
    end = threading.Timer(0.5, process.kill)
    end.start()
    with engines.lease([ONE], 1, 1) as (address,):
        assert end.finished.is_set()
        assert_works(address)
    end.join()


def test_that_a_gpu_cannot_be_used_is_noted_once_for_a_run(machine: Machine) -> None:
    owner = machine.new_run()
    one, two, other = machine.engines(owner), machine.engines(owner), machine.engines(machine.new_run())
    with one.lease([ONE], 1, 1):
        assert two.why_unusable(ONE) == ""
        assert one.mark_unusable(ONE, "CUDA does not work")
        assert not two.mark_unusable(ONE, "CUDA does not work")
        assert two.why_unusable(ONE) == "CUDA does not work"
        assert two.why_unusable(TWO) == other.why_unusable(ONE) == ""


def test_a_job_whose_snakemake_is_gone_is_told_so(machine: Machine) -> None:
    owner = machine.new_run()
    machine.end()
    with pytest.raises(MachineError, match="the process that started this job has ended; run again"):
        machine.engines(owner)


def test_where_leases_cannot_be_kept_that_is_a_fault_of_the_machine(machine: Machine) -> None:
    machine.leases.folder.write_text("no folder")
    with (
        pytest.raises(MachineError, match="while leasing a GPU"),
        machine.engines(machine.new_run()).lease([ONE], 1, 1),
    ):
        pass
    machine.leases.folder.unlink()


JOB = """
import os, sys
os.getppid = lambda: int(sys.argv[1])
from pathlib import Path
from helpers.engine_process import SPEC
from zipcrop.detect.lease import Engines
from zipcrop.process.gpu import GPU, Leases
engines = Engines(SPEC, Path(sys.argv[2]) / "logs", Leases(Path(sys.argv[2]) / "leases"))
print("begins", flush=True)
while True:
    with engines.lease([GPU("0", "GPU-1")], 1, 1) as (address,):
        engines.kill(address)
"""


def test_jobs_that_are_killed_at_any_time_leave_nothing_that_is_in_the_way(machine: Machine) -> None:
    """Each job kills the process that it has got, so that the next lease has to start one."""
    chance = random.Random(0)
    owner = machine.new_run()
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(SCRIPTS), str(ROOT / "tests")])
    for _ in range(8):
        command = [sys.executable, "-c", JOB, str(owner), str(machine.folder)]
        with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE) as job:
            assert job.stdout is not None
            assert job.stdout.readline() == b"begins\n"
            time.sleep(chance.uniform(0, 0.3))
            job.kill()
    with machine.engines(owner).lease([ONE], 1, 1) as (address,):
        assert_works(address)
        wait_until(lambda: len(machine.processes()) == 1)
        assert machine.pid(address, owner) == machine.processes()[0].pid


def test_what_a_process_is_started_with_survives_its_command_line() -> None:
    owner = ProcessId.of(os.getpid())
    assert owner is not None
    start = Start(TWO, Run(owner, SPEC.digest), SPEC, Path("/tmp/a b"), Path("it's.log"), 5, 6)
    assert Start.parse(str(start)) == start


def test_networks_are_told_apart_by_what_changes_their_predictions() -> None:
    base = Spec(Path("a"), "one", 64, 32, 4)
    others = [Spec(Path("a"), "two", 64, 32, 4), Spec(Path("a"), "one", 96, 32, 4), Spec(Path("a"), "one", 64, 32, 5)]
    assert len({base.digest, *(other.digest for other in others)}) == 4
    assert Spec(Path("elsewhere"), "one", 64, 32, 4).digest == base.digest
