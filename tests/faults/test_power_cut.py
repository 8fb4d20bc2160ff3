"""Power cuts while a job or a run is at work, and after it: what the next one makes of what the disk has kept.

What a file system was told is on the disk only some seconds later, unless it was told to hurry: names of files and
folders before their bytes, so that results may be there, and be empty.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from disk import Disk, mounted, new_disk
from faulty import Bench, UnavailableError

from helpers.files import make_zip
from helpers.output import contents, files_below, results, staged
from helpers.photos import encoded
from helpers.workflow import Workflow

pytestmark = pytest.mark.slow

Check = tuple[str, Callable[[], None]]
# Moments of power cuts: so many while it runs, and seconds after its end.
WHILE = 10
AFTER = (0.2, 1, 5, 10)
SETTINGS = {"confidence": 0.6}
OTHER_SETTINGS = {"confidence": 0.25, "crop.padding": 0.1}


def members(count: int) -> list[tuple[str, bytes]]:
    """Photos with persons and without, no two the same, and one that is broken."""
    photos = [encoded("bus", scale=0.3), encoded("zidane", scale=0.3), encoded("empty", ".png")]
    found = [(f"{index % 4}/{index}.jpg", photos[index % 3] + bytes([index])) for index in range(count)]
    return [*found, ("broken.jpg", photos[0][:2000])]


@pytest.fixture(scope="module")
def larger(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The bench with a larger archive, whose jobs take some seconds."""
    return bench.on(make_zip(tmp_path_factory.mktemp("larger") / "photos.zip", members(60)))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """An empty one, mounted as `tmp_path / "run" / "output"`."""
    try:
        with new_disk(tmp_path / "disk.img", tmp_path / "run" / "output") as disk:
            yield disk
    except UnavailableError as error:
        (pytest.fail if os.environ.get("REQUIRE_LOOP") else pytest.skip)(str(error))


def moments(process: subprocess.Popen[str], seconds: float) -> Iterator[str]:
    """Waits for each moment of a power cut, and names it; `process`, which was started just now, takes about
    `seconds`."""
    started = time.monotonic()
    draw = random.Random(20)
    for moment in sorted(draw.uniform(0.2, 1) * seconds for _ in range(WHILE)):
        time.sleep(max(0, started + moment - time.monotonic()))
        yield f"{moment:.2f} s after the start"
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    ended = time.monotonic()
    for moment in AFTER:
        time.sleep(max(0, ended + moment - time.monotonic()))
        yield f"{moment:.2f} s after the end"


def run_all(checks: Sequence[Check]) -> None:
    """Runs the checks, which have names; fails at the end if any did."""
    problems = []
    for name, check in checks:
        try:
            check()
        except AssertionError as problem:
            problems.append(f"{name}: {problem}")
    assert not problems, "\n".join([f"{len(problems)} of {len(checks)}:", *problems])


def differences(found: dict[str, bytes], expected: dict[str, bytes]) -> str:
    """The paths that are missing, new, empty or different, in words; empty if there are none."""
    kinds = {
        "missing": sorted(expected.keys() - found.keys()),
        "new": sorted(found.keys() - expected.keys()),
        "empty": sorted(name for name, data in found.items() if expected.get(name) and not data),
        "other": sorted(name for name, data in found.items() if data and expected.get(name, data) != data),
    }
    return ", ".join(f"{len(names)} {kind} ({names[0]})" for kind, names in kinds.items() if names)


@pytest.mark.parametrize("before", ["nothing", "results of other settings"])
def test_a_job(before: str, larger: Bench, disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    started = time.monotonic()
    assert larger.crop(tmp_path / "whole", SETTINGS).status == 0
    seconds = time.monotonic() - started
    whole = results(tmp_path / "whole" / "output")
    if before != "nothing":
        assert larger.crop(tmp_path / "run", OTHER_SETTINGS).status == 0
        assert results(tmp_path / "run" / "output").keys() != whole.keys()
        os.sync()

    def check(image: Path) -> None:
        folder = image.with_suffix("")
        with mounted(image, folder / "output"):
            if before == "nothing" and (folder / "output/manifests/photos.csv").exists():
                # Snakemake would not run it again.
                wrong = differences(results(folder / "output"), whole)
                assert not wrong, f"there is a manifest, but {wrong}"
            ended = larger.crop(folder, SETTINGS)
            assert ended.status == 0, ended.said
            wrong = differences(results(folder / "output"), whole)
            assert not wrong, f"after the next job, {wrong}"
            assert staged(folder / "output") == {}

    checks: list[Check] = []
    with larger.start(tmp_path / "run" / "output", tmp_path / "run.log", SETTINGS) as process:
        for moment in moments(process, seconds):
            image = tmp_path / f"cut-{len(checks)}.img"
            disk.cut(image)
            checks.append((moment, functools.partial(check, image)))
    run_all(checks)


@pytest.fixture
def uncut(prepared: Path, tmp_path: Path) -> tuple[Workflow, float]:
    """A workflow that has run to its end, and the seconds that it took."""
    (tmp_path / "uncut").mkdir()
    workflow = Workflow.create(tmp_path / "uncut", omitted=("survey",))
    shutil.copytree(prepared / "models", workflow.folder / "models")
    for archive, count in {"photos": 30, "sub/it's": 15}.items():
        make_zip(workflow.folder / "raw_zips" / f"{archive}.zip", members(count))
    started = time.monotonic()
    result = workflow.run("--cores", "2")
    assert result.returncode == 0, result.stdout
    return workflow, time.monotonic() - started


def test_a_run(uncut: tuple[Workflow, float], disk: Disk, tmp_path: Path) -> None:
    """Snakemake's own notes are on another disk, which keeps all of them."""
    whole, seconds = uncut

    def created(folder: Path) -> Workflow:
        folder.mkdir(exist_ok=True)
        workflow = Workflow.create(folder, omitted=whole.omitted)
        for name in ("models", "raw_zips"):
            shutil.copytree(whole.folder / name, folder / name)
        return workflow

    def check(cut: Workflow, image: Path) -> None:
        with mounted(image, cut.folder / "output"):
            result = cut.run("--cores", "2")
            errors = [line for line in result.stdout.splitlines() if "Error" in line or "zipcrop: error" in line]
            assert result.returncode == 0, f"the next run fails: {errors[:2]}"
            wrong = differences(files(cut), files(whole))
            assert not wrong, f"after the next run, {wrong}"
            assert contents(cut.output) == contents(whole.output), "after the next run, the summary is another"

    workflow = created(tmp_path / "run")
    checks: list[Check] = []
    with workflow.start("--cores", "2") as process:
        for moment in moments(process, seconds):
            cut = created(tmp_path / f"cut-{len(checks)}")
            image = tmp_path / f"cut-{len(checks)}.img"
            # First: all that it has noted as done has to be on the disk by then.
            copy_notes(workflow.folder, cut.folder)
            disk.cut(image)
            checks.append((moment, functools.partial(check, cut, image)))
    run_all(checks)


def files(workflow: Workflow) -> dict[str, bytes]:
    """The files of the output; of those that hold times, only whether they are empty."""
    found = files_below(workflow.output, (".snakemake_timestamp", ".lock"))  # which a kill leaves
    return {path: data[:1] if path.endswith(".json") or path == "summary.csv" else data for path, data in found.items()}


def copy_notes(source: Path, target: Path) -> None:
    """Copies the notes of Snakemake, which is at work in `source`."""
    if not (source / ".snakemake").exists():
        return
    while True:
        try:
            shutil.copytree(source / ".snakemake", target / ".snakemake")
            return
        except (shutil.Error, OSError):  # something went away meanwhile
            shutil.rmtree(target / ".snakemake", ignore_errors=True)
