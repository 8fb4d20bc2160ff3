"""Runs through a real Slurm: the same results as on one machine, also after jobs die and nodes are lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster import Cluster, UnavailableError

from helpers.files import make_zip
from helpers.output import contents, journalled
from helpers.photos import encoded
from helpers.workflow import Workflow, wait_for

pytestmark = pytest.mark.slurm

PROFILE = (
    *("--workflow-profile", "profiles/slurm", "--retries", "1", "--latency-wait", "10"),
    # There is no accounting database.
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
)

# Every Python imports a module of this name by itself where it is on the path.
PROBE = """
import asyncio, json, os, sys

command = " ".join(sys.orig_argv)
if "crop_archive.py" in command:
    with open(os.environ["PROBE"], "a") as file:
        archive = next(word for word in sys.orig_argv if word.startswith("--archive="))
        seen = {name: os.environ.get(name) for name in ("SLURMD_NODENAME", "SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES")}
        print(json.dumps({"archive": archive.removeprefix("--archive="), "pid": os.getpid(), **seen}), file=file)
elif "workflow-profile" in command:
    # Snakemake asks Slurm less and less often how its jobs are, up to every three minutes.
    sleep = asyncio.sleep
    asyncio.sleep = lambda delay, result=None: sleep(min(delay, 1), result)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        with Cluster() as cluster:
            yield cluster
    except UnavailableError as error:
        (pytest.fail if os.environ.get("REQUIRE_SLURM") else pytest.skip)(str(error))


@pytest.fixture
def env(cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    """An environment for runs on the cluster, whose crop jobs write down where they are."""
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "sitecustomize.py").write_text(PROBE)
    return {
        **cluster.environment,
        "PYTHONPATH": str(tmp_path / "probe"),
        "PROBE": str(tmp_path / "jobs.jsonl"),
        # Snakemake starts so often here that it pays to keep it compiled.
        "PYTHONDONTWRITEBYTECODE": "",
    }


def crop_jobs(env: dict[str, str]) -> list[dict[str, Any]]:
    """The crop jobs that have begun, with Slurm's variables in them."""
    path = Path(env["PROBE"])
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def create(folder: Path, prepared: Path, **options: Any) -> Workflow:
    """A workflow without archives, with the model of a `prepared` one."""
    folder.mkdir()
    shutil.copytree(prepared / "models", folder / "models")
    return Workflow.create(folder, **options)


def photos(count: int, seed: int = 0) -> list[tuple[str, bytes]]:
    """Members of an archive; other ones for another `seed`."""
    kinds = [encoded("bus", scale=0.4), encoded("zidane", scale=0.4), encoded("empty", ".png")]
    return [(f"{index}.jpg", kinds[index % 3] + bytes([index % 256, seed])) for index in range(count)]


def run_locally(workflow: Workflow, folder: Path) -> Workflow:
    """Another workflow, with the same archives, that has run to its end without Slurm."""
    shutil.copytree(workflow.folder, folder, symlinks=True)
    local = Workflow(folder, workflow.omitted)
    result = local.run("--cores", "2")
    assert result.returncode == 0, result.stdout
    return local


def carried_on_after(workflow: Workflow, archive: str) -> int:
    """How many members the last job of an archive found done."""
    found = re.search(r"carrying on after (\d+) ", (workflow.folder / f"logs/crop/{archive}.log").read_text())
    return int(found[1]) if found else 0


def test_the_same_results_as_on_one_machine(
    cluster: Cluster, env: dict[str, str], prepared: Path, tmp_path: Path
) -> None:
    workflow = create(tmp_path / "run", prepared, omitted=("plot", "contact_sheets", "pages"))
    raw = workflow.folder / "raw_zips"
    make_zip(raw / "images(1).zip", [*photos(3), ("notes.txt", b"no photo")])
    make_zip(raw / "-Größe [2]" / "it's.ZIP", photos(2, 1))
    make_zip(raw / "-Größe [2]" / "$HOME & ~ #; (*)?!=.zip", photos(1, 2))
    make_zip(raw / "two  spaces" / "more.zip", photos(3, 3))
    (raw / "broken.zip").write_bytes((raw / "images(1).zip").read_bytes()[:5000])
    local = run_locally(workflow, tmp_path / "local")
    result = workflow.run(*PROFILE, env=env)
    assert result.returncode == 0, result.stdout
    assert contents(workflow.output) == contents(local.output)
    annotations = "output/summary/annotations.coco.json"
    assert (workflow.folder / annotations).read_bytes() == (local.folder / annotations).read_bytes()
    jobs = crop_jobs(env)
    assert len(jobs) == 5
    assert {job["CUDA_VISIBLE_DEVICES"] for job in jobs} == {"0"}
    # Two nodes with one GPU each.
    assert {job["SLURMD_NODENAME"] for job in jobs} == set(cluster.nodes)
    (more,) = (job["SLURM_JOB_ID"] for job in jobs if job["archive"] == "two  spaces/more")
    details = cluster.details(more)
    assert (details["NumCPUs"], details["MinMemoryNode"], details["TimeLimit"]) == ("4", "7000M", "00:30:00")
    # The archives, survey and export.
    assert len(cluster.jobs()) == 7
    again = workflow.run(*PROFILE, env=env)
    assert "Nothing to be done" in again.stdout, again.stdout


def test_a_job_that_is_killed_carries_on(env: dict[str, str], prepared: Path, tmp_path: Path) -> None:
    workflow = create(tmp_path / "run", prepared)
    for seed, archive in enumerate(("killed", "left alone")):
        make_zip(workflow.folder / "raw_zips" / f"{archive}.zip", photos(80, seed))
    local = run_locally(workflow, tmp_path / "local")
    # Without GPUs to share, both are on the same node.
    with workflow.start(*PROFILE, config=["device=cpu"], env=env) as process:
        wait_for(lambda: journalled(workflow.output, "killed") > 20, process, 150)
        before = journalled(workflow.output, "killed")
        (job,) = (job for job in crop_jobs(env) if job["archive"] == "killed")
        psutil.Process(job["pid"]).send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert carried_on_after(workflow, "killed") >= before
    assert [job["archive"] for job in crop_jobs(env)].count("left alone") == 1
    assert len({job["SLURMD_NODENAME"] for job in crop_jobs(env)}) == 1
    assert {job["CUDA_VISIBLE_DEVICES"] for job in crop_jobs(env)} == {None}
    assert contents(workflow.output) == contents(local.output)


def test_a_node_that_is_lost(cluster: Cluster, env: dict[str, str], prepared: Path, tmp_path: Path) -> None:
    workflow = create(tmp_path / "run", prepared)
    make_zip(workflow.folder / "raw_zips" / "photos.zip", photos(80))
    local = run_locally(workflow, tmp_path / "local")
    with workflow.start(*PROFILE, env=env) as process:
        wait_for(lambda: journalled(workflow.output, "photos") > 20, process, 150)
        (first,) = crop_jobs(env)
        node = first["SLURMD_NODENAME"]
        cluster.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
        # It gets no new jobs, but this one may stay.
        assert cluster.details(first["SLURM_JOB_ID"])["JobState"] == "RUNNING"
        cluster.cut_power(node)
        before = journalled(workflow.output, "photos")
        # Left to itself, Slurm notices after a while, and has the job wait for another two minutes.
        cluster.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
        cluster.run("scontrol", "update", f"JobId={first['SLURM_JOB_ID']}", "StartTime=now")
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    last = crop_jobs(env)[-1]
    # The same job, which Slurm has requeued, on the other node.
    assert (last["SLURM_JOB_ID"], cluster.details(last["SLURM_JOB_ID"])["Restarts"]) == (first["SLURM_JOB_ID"], "1")
    assert last["SLURMD_NODENAME"] != node
    assert carried_on_after(workflow, "photos") >= before > 20
    assert contents(workflow.output) == contents(local.output)
    cluster.start_node(node)
    cluster.run("scontrol", "update", f"NodeName={node}", "State=RESUME")


def test_a_failure_leaves_the_others_alone(env: dict[str, str], prepared: Path, tmp_path: Path) -> None:
    workflow = create(tmp_path / "run", prepared)
    for seed, archive in enumerate(("a", "b", "c")):
        make_zip(workflow.folder / "raw_zips" / f"{archive}.zip", photos(2, seed))
    local = run_locally(workflow, tmp_path / "local")
    in_the_way = workflow.folder / "output" / ".staging" / "b"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    result = workflow.run(*PROFILE, "--retries", "0", env=env)
    assert result.returncode == 1
    assert "zipcrop: not done: 1 of 3 archives; run again to carry on\n  b: " in result.stdout, result.stdout
    assert sorted(path.name for path in (workflow.folder / "output/manifests").glob("*.csv")) == ["a.csv", "c.csv"]
    in_the_way.unlink()
    begun = len(crop_jobs(env))
    result = workflow.run(*PROFILE, env=env)
    assert result.returncode == 0, result.stdout
    assert [job["archive"] for job in crop_jobs(env)[begun:]] == ["b"]
    assert contents(workflow.output) == contents(local.output)
    # Nor does a failure take away earlier results.
    staged = workflow.folder / "output" / ".staging"
    staged.mkdir(exist_ok=True)
    (staged / "b").touch()
    result = workflow.run(*PROFILE, "--retries", "1", config=["confidence=0.6"], env=env)
    assert result.returncode == 1, result.stdout
    old, now = contents(local.output), contents(workflow.output)
    assert {file: now.get(file) for file in old if "/b/" in file or "/b." in file} == {
        file: content for file, content in old.items() if "/b/" in file or "/b." in file
    }
    assert (workflow.folder / "output/manifests/b.json").exists()


@pytest.mark.parametrize("name", ["a, b", "100%", "$HOME's", "'quoted'"])
def test_a_name_that_jobs_would_not_get(name: str, env: dict[str, str], prepared: Path, tmp_path: Path) -> None:
    workflow = create(tmp_path / "run", prepared)
    make_zip(workflow.folder / "raw_zips" / f"{name}.zip", photos(1))
    result = workflow.run(*PROFILE, env=env)
    assert result.returncode == 1
    assert f"zipcrop: error: archive {name!r} cannot be done on a cluster: " in result.stdout
    assert "Traceback" not in result.stdout
    assert not crop_jobs(env)
