"""Crop jobs with engine processes of pretended GPUs. As commands, whose parent, and so the run, is this process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers import output
from helpers.files import make_zip, read_csv
from helpers.gpus import FORMULA, ON_THE_CPU, PretendedGPUs
from helpers.job import CropJob
from helpers.photos import encoded

Pretend = Callable[..., PretendedGPUs]


@pytest.fixture
def pretend(tmp_path: Path) -> Iterator[Pretend]:
    """Pretends GPUs, which are removed after the test."""
    all_of_them: list[PretendedGPUs] = []

    def make(**options: Any) -> PretendedGPUs:
        all_of_them.append(PretendedGPUs(tmp_path / f"gpus-{len(all_of_them)}", **options))
        return all_of_them[-1]

    yield make
    for each in all_of_them:
        each.remove()


class Jobs:
    """Crop jobs in a folder, on pretended GPUs."""

    def __init__(self, folder: Path, model: Path, gpus: PretendedGPUs) -> None:
        self._folder = folder
        self._model = model
        self._gpus = gpus

    def job(self, zip_path: Path, results: str, device: str = "cuda", **speed: Any) -> CropJob:
        folder = self._folder / results
        settings = {"device": device, "engine": "auto", **speed}
        return CropJob(zip_path, self._model, folder, folder.with_suffix(".logs") / "a.log", {}, settings)

    def start(self, job: CropJob) -> subprocess.Popen[str]:
        environment = {**os.environ, **self._gpus.environment}
        return subprocess.Popen(
            job.command(), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, job: CropJob) -> tuple[int, str]:
        with self.start(job) as process:
            said, _ = process.communicate(timeout=120)
        return process.returncode, said

    def results(self, zip_path: Path, results: str, **speed: Any) -> dict[str, bytes]:
        status, said = self.run(self.job(zip_path, results, **speed))
        assert status == 0, said
        return output.results(self._folder / results)

    def log(self, results: str) -> str:
        return (self._folder / f"{results}.logs" / "a.log").read_text()

    def engine_log(self, results: str) -> str:
        (path,) = (self._folder / f"{results}.logs" / "engine").iterdir()
        return path.read_text()


@pytest.fixture(scope="module")
def photos() -> list[tuple[str, bytes]]:
    """Photos of several shapes, in none of which the other pixels are the same."""
    names = ["bus", "zidane", "empty"]
    return [(f"{name}{number}.jpg", encoded(name, scale=0.2 + number / 50)) for number in range(20) for name in names]


@pytest.fixture
def zip_path(tmp_path: Path, photos: list[tuple[str, bytes]]) -> Path:
    return make_zip(tmp_path / "a.zip", photos)


def until(happens: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_results_equal_those_of_an_engine_in_the_worker_byte_for_byte(
    pretend: Pretend, tmp_path: Path, model_json: Path
) -> None:
    gpus = pretend(server="def patch(server): pass", others={"zipcrop.detect.network": ON_THE_CPU}, torch=True)
    jobs = Jobs(tmp_path, model_json, gpus)
    members = [(f"{name}.jpg", encoded(name, scale=0.5)) for name in ("bus", "zidane", "empty")]
    archive = make_zip(tmp_path / "a.zip", [*members, ("again/bus.png", encoded("bus", ".png", scale=0.4))] * 2)
    wanted = jobs.results(archive, "local", device="cpu", engine="torch")
    assert any(path.startswith("Person/") for path in wanted)
    started = [jobs.start(jobs.job(archive, f"remote-{workers}", workers=workers)) for workers in (1, 2, 4)]
    assert [process.communicate()[0] and process.returncode for process in started] == [0, 0, 0]
    for workers in (1, 2, 4):
        assert output.results(tmp_path / f"remote-{workers}") == wanted
    assert len(gpus.engines()) == 1


def test_jobs_of_a_run_share_an_engine_process_that_outlives_them(
    pretend: Pretend, zip_path: Path, tmp_path: Path, model_json: Path
) -> None:
    gpus = pretend()
    jobs = Jobs(tmp_path, model_json, gpus)
    first = jobs.results(zip_path, "first")
    (engine,) = gpus.engines()
    assert jobs.results(zip_path, "second", workers=3) == first
    assert gpus.engines() == [engine]
    assert gpus.uuids[0] in jobs.log("second")
    assert "starts for" in jobs.engine_log("first")
    statuses = {row["status"] for row in read_csv(tmp_path / "first/manifests/a.csv")}
    assert statuses == {"person", "no_person"}


def test_a_job_that_is_killed_takes_its_workers_with_it_and_leaves_the_engine_process(
    pretend: Pretend, zip_path: Path, tmp_path: Path, model_json: Path
) -> None:
    gpus = pretend()
    jobs = Jobs(tmp_path, model_json, gpus)
    wanted = jobs.results(zip_path, "wanted")
    (engine,) = gpus.engines()
    with jobs.start(jobs.job(zip_path, "killed", workers=2)) as process:
        until(lambda: output.journalled(tmp_path / "killed") > 0)
        workers = psutil.Process(process.pid).children()
        process.kill()
        process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
    assert jobs.results(zip_path, "killed") == wanted
    assert "carrying on after" in jobs.log("killed")
    assert gpus.engines() == [engine]
    until(lambda: len([path for path in gpus.leases() if ".job." in path.name]) == 0)
    until(lambda: len(engine.net_connections("unix")) == 1)  # where it listens


SLOW = FORMULA.replace("    def start(self", "    batch = 2\n\n    def start(self").replace(
    "return np.array(", "time.sleep(0.04); return np.array("
)


def test_when_the_engine_process_is_killed_the_job_goes_on_with_another_one(
    pretend: Pretend, zip_path: Path, tmp_path: Path, model_json: Path
) -> None:
    gpus = pretend(server=SLOW)
    jobs = Jobs(tmp_path, model_json, gpus)
    with jobs.start(jobs.job(zip_path, "disturbed", workers=2)) as process:
        until(lambda: output.journalled(tmp_path / "disturbed") > 0)
        (engine,) = gpus.engines()
        engine.kill()
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert gpus.engines() != [engine]
    log = jobs.log("disturbed")
    assert f"the engine process of {gpus.uuids[0]} has ended; see" in log
    assert "another one is started" in log
    assert output.results(tmp_path / "disturbed") == jobs.results(zip_path, "wanted")


DEADLY = FORMULA.replace(
    "return np.array(", "os.kill(os.getpid(), 9) if self.count() > 8 else 0; return np.array("
).replace(
    "    batch = 16",
    "    batch = 2\n    done = 0\n\n    def count(self):\n        self.done += 1\n        return self.done",
)


def test_an_engine_process_that_dies_again_and_again_fails_the_job_and_no_photo(
    pretend: Pretend, zip_path: Path, tmp_path: Path, model_json: Path
) -> None:
    gpus = pretend(server=DEADLY)
    jobs = Jobs(tmp_path, model_json, gpus)
    status, said = jobs.run(jobs.job(zip_path, "disturbed", device="auto"))
    assert status == 1
    assert f"error: the engine process of {gpus.uuids[0]} has ended; see" in said
    assert jobs.log("disturbed").count("another one is started") == 2
    before = output.journalled(tmp_path / "disturbed")
    assert before > 0
    # A rerun carries on, and so does the one after it.
    while jobs.run(jobs.job(zip_path, "disturbed"))[0]:
        assert output.journalled(tmp_path / "disturbed") > before
        before = output.journalled(tmp_path / "disturbed")
    assert {row["status"] for row in read_csv(tmp_path / "disturbed/manifests/a.csv")} == {"person", "no_person"}


BROKEN = """
def load_network(spec):
    raise RuntimeError("no kernel image is available for execution on the device")

def patch(server):
    server.load_network = load_network
"""


def test_a_gpu_that_cannot_be_used_fails_a_job_that_asks_for_it(
    pretend: Pretend, zip_path: Path, tmp_path: Path, model_json: Path
) -> None:
    gpus = pretend(server=BROKEN)
    jobs = Jobs(tmp_path, model_json, gpus)
    status, said = jobs.run(jobs.job(zip_path, "asked"))
    assert status == 1
    sentence = f"{gpus.uuids[0]} cannot be used (RuntimeError: no kernel image is available for execution on the device"
    assert sentence in said
    assert "set device: cpu" in said
    assert str(tmp_path / "asked.logs" / "engine") in said
    assert "Traceback" in jobs.engine_log("asked")


@pytest.mark.parametrize("server", [BROKEN, pytest.param("def patch(server): os._exit(3)", marks=pytest.mark.slow)])
def test_where_no_gpu_can_be_used_the_run_goes_on_on_the_cpu_and_says_so_once(
    server: str, pretend: Pretend, tmp_path: Path, model_json: Path
) -> None:
    gpus = pretend(server=server)
    jobs = Jobs(tmp_path, model_json, gpus)
    archive = make_zip(tmp_path / "a.zip", [("bus.jpg", encoded("bus", scale=0.5))])
    status, said = jobs.run(jobs.job(archive, "first", device="auto"))
    assert status == 0, said
    assert said.count("warning:") == 1
    assert "the run goes on on the CPU" in said
    status, said = jobs.run(jobs.job(archive, "second", device="auto"))
    assert status == 0, said
    assert "warning:" not in said
    assert "on the CPU, since no GPU can be used" in jobs.log("second")
    local = jobs.results(archive, "local", device="cpu")
    assert output.results(tmp_path / "first") == output.results(tmp_path / "second") == local


SHORT = FORMULA.replace("return [self.predict", "self.check(photos); return [self.predict").replace(
    "    batch = 16",
    """    batch = 16

    def check(self, photos):
        from zipcrop.errors import OutOfGPUMemory
        if len(photos) > 3:
            self.batch = len(photos) // 2
            raise OutOfGPUMemory
""",
)


def test_a_gpu_out_of_memory_gets_the_same_photos_in_smaller_batches(
    pretend: Pretend, zip_path: Path, tmp_path: Path, model_json: Path
) -> None:
    wanted = Jobs(tmp_path, model_json, pretend()).results(zip_path, "wanted")
    assert Jobs(tmp_path, model_json, pretend(server=SHORT)).results(zip_path, "short", workers=2) == wanted


ONE_BROKEN = """
def patch(server):
    def load_network(spec):
        if os.environ["CUDA_VISIBLE_DEVICES"].startswith("GPU-0"):
            raise RuntimeError("fallen off the bus")
        return Network()

    server.load_network = load_network
"""


@pytest.mark.parametrize("device", ["auto", pytest.param("cuda", marks=pytest.mark.slow)])
def test_a_run_goes_on_without_the_one_gpu_that_cannot_be_used(
    device: str, pretend: Pretend, zip_path: Path, tmp_path: Path, model_json: Path
) -> None:
    gpus = pretend(count=2, server=FORMULA[: FORMULA.index("def patch")] + ONE_BROKEN)
    jobs = Jobs(tmp_path, model_json, gpus)
    status, said = jobs.run(jobs.job(zip_path, "first", device=device))
    assert status == 0, said
    assert said.count(f"warning: {gpus.uuids[0]} cannot be used") == 1
    assert "the run goes on without it" in said
    status, said = jobs.run(jobs.job(zip_path, "second", device=device))
    assert status == 0, said
    assert "warning" not in said
    assert gpus.uuids[1] in jobs.log("second")


NO_PATIENCE = "def patch(pool): pool._INFERENCE_SECONDS = 2.0"


@pytest.mark.slow
def test_an_engine_process_that_hangs_fails_its_job_and_not_the_next_one(
    pretend: Pretend, zip_path: Path, tmp_path: Path, model_json: Path
) -> None:
    gpus = pretend(server=SLOW, others={"zipcrop.job.pool": NO_PATIENCE})
    jobs = Jobs(tmp_path, model_json, gpus)
    with jobs.start(jobs.job(zip_path, "hanging")) as process:
        until(lambda: output.journalled(tmp_path / "hanging") > 0)
        (engine,) = gpus.engines()
        engine.send_signal(signal.SIGSTOP)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the engine has not answered for 2 s" in said
    assert jobs.results(zip_path, "hanging") == jobs.results(zip_path, "wanted")
    assert gpus.engines() != [engine]


def test_workers_of_one_archive_are_dealt_to_several_gpus(
    pretend: Pretend, zip_path: Path, tmp_path: Path, model_json: Path
) -> None:
    gpus = pretend(count=3)
    jobs = Jobs(tmp_path, model_json, gpus)
    job = replace(jobs.job(zip_path, "two", gpus_per_archive=2, workers=4), gpus=2)
    status, said = jobs.run(job)
    assert status == 0, said
    assert len(gpus.engines()) == 2
    assert output.results(tmp_path / "two") == jobs.results(zip_path, "one")
    counts = [path.read_text() for path in (tmp_path / "two.logs" / "engine").iterdir()]
    assert len(counts) == 2
