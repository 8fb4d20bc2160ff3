"""Runs that are killed, interrupted, or started twice; the next plain run completes them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from helpers.environment import patched_everywhere
from helpers.files import make_zip
from helpers.once import once_per_run
from helpers.output import contents, journalled
from helpers.photos import encoded
from helpers.workflow import Workflow, wait_for
from zipcrop.job.staging import Staging

ARCHIVES = {"images(1)": 60, "sub/it's": 40, "few": 5}
# Photos that one job holds at most: two chunks for its only worker.
IN_FLIGHT = 16

# Counts decoded photos, in every process of a run.
COUNTER = """
def patch(image):
    decode = image.decode

    def counted(*arguments):
        with open(os.environ["DECODED"], "ab") as file:
            file.write(b".")
        return decode(*arguments)

    image.decode = counted
"""


@pytest.fixture(scope="module")
def uninterrupted(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A workflow that has run to its end."""

    def make(folder: Path) -> None:
        workflow = Workflow.create(folder)
        shutil.copytree(prepared / "models", folder / "models")
        photos = [encoded("bus", scale=0.4), encoded("zidane", scale=0.4), encoded("empty", ".png")]
        for archive, count in ARCHIVES.items():
            members = [(f"{index}.jpg", photos[index % 3] + bytes([index])) for index in range(count)]
            members += [("broken.jpg", photos[0][:3000]), ("a.txt", b"a")]
            make_zip(folder / "raw_zips" / f"{archive}.zip", members)
        result = workflow.run("--cores", "2")
        assert result.returncode == 0, result.stdout
        assert not (workflow.output / ".staging").exists()

    return Workflow(once_per_run(tmp_path_factory, "uninterrupted", make))


@pytest.fixture
def fresh(uninterrupted: Workflow, tmp_path: Path) -> Workflow:
    """The same before it has run, but for the prepared model."""
    (tmp_path / "run").mkdir()
    workflow = Workflow.create(tmp_path / "run")
    for folder in ("models", "raw_zips"):
        shutil.copytree(uninterrupted.folder / folder, workflow.folder / folder)
    return workflow


@pytest.fixture
def counting(tmp_path: Path) -> tuple[dict[str, str], Callable[[], int]]:
    """An environment in which decoded photos are counted, and a function that returns their number."""
    environment = patched_everywhere(tmp_path / "counter", "zipcrop.image.codec", COUNTER)
    decoded = tmp_path / "decoded"
    decoded.touch()
    return {**environment, "DECODED": str(decoded)}, lambda: decoded.stat().st_size


def crop_job(process: subprocess.Popen[str]) -> tuple[psutil.Process, psutil.Process]:
    """The crop job below snakemake, and its worker."""
    (job,) = (child for child in descendants(process) if any("crop_archive.py" in word for word in child.cmdline()))
    (worker,) = (child for child in job.children() if any("spawn_main" in word for word in child.cmdline()))
    return job, worker


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    below: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    return below


def finish(workflow: Workflow, env: dict[str, str] | None = None) -> str:
    result = workflow.run("--cores", "2", env=env)
    assert result.returncode == 0, result.stdout
    assert not (workflow.folder / "output" / ".staging").exists()
    return result.stdout


def test_killed_with_everything_below_it(
    fresh: Workflow, uninterrupted: Workflow, counting: tuple[dict[str, str], Callable[[], int]]
) -> None:
    env, decoded = counting
    with fresh.start("--cores", "2", env=env) as process:
        wait_for(lambda: journalled(fresh.output) > 20, process)
        os.killpg(process.pid, signal.SIGKILL)
    assert "carrying on after" in finish(fresh, env)
    assert contents(fresh.output) == contents(uninterrupted.output)
    images = sum(ARCHIVES.values()) + len(ARCHIVES)
    assert images <= decoded() <= images + IN_FLIGHT


@pytest.mark.slow
def test_killed_before_it_could_sweep(uninterrupted: Workflow, tmp_path: Path) -> None:
    shutil.copytree(uninterrupted.folder, tmp_path / "run", symlinks=True)
    workflow = Workflow(tmp_path / "run")
    for _ in range(2):  # the logs of the first time tell nothing
        with Staging(workflow.folder / "output", "few", "key") as staged:
            staged.resume()
            (staged.folder / "ready").touch()
        assert staged.folder.exists()
        finish(workflow)
        assert contents(workflow.output) == contents(uninterrupted.output)
        assert workflow.jobs() == {}


@pytest.mark.slow
def test_snakemake_alone_killed(fresh: Workflow, uninterrupted: Workflow) -> None:
    with fresh.start("--cores", "2") as process:
        wait_for(lambda: journalled(fresh.output) > 10, process)
        left = descendants(process)
        process.kill()
        process.wait()
        assert "carrying on after" in finish(fresh)
        assert left
        assert not psutil.wait_procs(left, timeout=10)[1]
    assert contents(fresh.output) == contents(uninterrupted.output)


@pytest.mark.slow
def test_a_job_killed(fresh: Workflow, uninterrupted: Workflow) -> None:
    with fresh.start("--cores", "2") as process:
        wait_for(lambda: journalled(fresh.output) > 10, process)
        job, worker = crop_job(process)
        job.kill()
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    worker.wait(timeout=10)
    assert "carrying on after" in finish(fresh)
    assert contents(fresh.output) == contents(uninterrupted.output)


def test_a_second_run_is_told_so_and_a_killed_worker_costs_nothing(fresh: Workflow, uninterrupted: Workflow) -> None:
    with fresh.start("--cores", "2") as process:
        wait_for(lambda: journalled(fresh.output) > 10, process)
        _, worker = crop_job(process)
        worker.kill()
        second = fresh.run("--cores", "2")
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert second.returncode == 1
    said = f"zipcrop: error: another run (process {process.pid} on "
    assert [line for line in second.stdout.splitlines() if "rror" in line][-1].startswith(said), second.stdout
    assert "Traceback" not in second.stdout
    assert contents(fresh.output) == contents(uninterrupted.output)


@pytest.mark.slow
def test_ctrl_c_leaves_no_process(fresh: Workflow, uninterrupted: Workflow) -> None:
    with fresh.start("--cores", "2") as process:
        wait_for(lambda: journalled(fresh.output) > 10, process)
        left = descendants(process)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=120)
        assert left
        assert not psutil.wait_procs(left, timeout=10)[1]
    assert process.returncode == 1, output
    assert "Traceback" not in output, output
    assert "carrying on after" in finish(fresh)
    assert contents(fresh.output) == contents(uninterrupted.output)


@pytest.mark.slow
def test_twenty_kills_at_random_moments(
    fresh: Workflow, uninterrupted: Workflow, counting: tuple[dict[str, str], Callable[[], int]]
) -> None:
    env, decoded = counting
    draw = random.Random(20)
    kills, laps = 0, 1
    while kills < 20:
        with fresh.start("--cores", "2", env=env) as process:
            try:
                output, _ = process.communicate(timeout=draw.uniform(1, 12))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
                continue
        # It came to its end before it was killed: from the beginning, with the kills that are left.
        assert process.returncode == 0, output
        assert contents(fresh.output) == contents(uninterrupted.output)
        shutil.rmtree(fresh.folder / "output")
        laps += 1
    finish(fresh, env)
    assert contents(fresh.output) == contents(uninterrupted.output)
    images = laps * (sum(ARCHIVES.values()) + len(ARCHIVES))
    assert images <= decoded() <= images + kills * IN_FLIGHT, f"{decoded()} photos decoded, {kills} kills, {laps} laps"
