"""The real snakemake, on real archives."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.environment import without_network
from helpers.files import make_zip
from helpers.photos import encoded
from helpers.project import ROOT, WEIGHTS
from helpers.workflow import Workflow

ALL = {"crop_archive": 2, "summarize": 1}


def test_first_run(prepared: Path) -> None:
    workflow = Workflow(prepared)
    summary = workflow.summary()
    assert list(summary) == ["-Größe [2]/it's", "images(1)"]
    for archive, row in summary.items():
        number = {
            key: int(row[key]) for key in row if key.endswith("images") or key in ("members", "failed", "skipped")
        }
        assert number["images"] == sum(number[f"{kind}_images"] for kind in ("person", "no_person", "rejected"))
        assert number["members"] == number["images"] + number["failed"] + number["skipped"]
        people = [entry for entry in workflow.manifest(archive) if entry["status"] == "person"]
        files = list((prepared / "output/Person" / archive).rglob("*.jpg"))
        assert int(row["crops"]) == len(people) == len(files) > 0
        assert {(prepared / "output" / entry["file"]) for entry in people} == set(files)
    assert summary["images(1)"]["zip"] == "raw_zips/images(1).zip"
    with zipfile.ZipFile(prepared / "raw_zips/images(1).zip") as file:
        assert (prepared / "output/No_Person/images(1)/sub/empty.png").read_bytes() == file.read("sub/empty.png")


def test_failures_are_named_at_the_end(prepared: Path) -> None:
    said = (prepared / "first_run.txt").read_text()
    assert "failed: 1" in said
    assert (
        "'broken.jpg' in raw_zips/images(1).zip: cannot be decoded: damaged, cut off or of an unsupported kind" in said
    )
    assert said.index("'broken.jpg' in raw_zips") > said.rindex("done: ")


def test_progress_is_on_the_terminal_and_in_the_log(prepared: Path) -> None:
    line = "done: 5 members: 1 with people"
    assert f"images(1): {line}" in (prepared / "first_run.txt").read_text()
    log = (prepared / "logs/crop/images(1).log").read_text()
    assert line in log
    assert "failed: 'broken.jpg'" in log


def test_a_second_run_does_nothing(workflow: Workflow) -> None:
    assert workflow.jobs("--cores", "2") == {}


def touch(workflow: Workflow) -> list[str]:
    os.utime(workflow.folder / "raw_zips/images(1).zip")
    return []


def copy(workflow: Workflow) -> list[str]:
    archive = workflow.folder / "raw_zips/images(1).zip"
    assert archive.stat().st_size > 1_000_000
    shutil.copyfile(archive, archive.with_suffix(".copy")).replace(archive)
    return []


def move(workflow: Workflow) -> list[str]:
    (workflow.folder / "raw_zips").rename(workflow.folder / "elsewhere")
    return ["raw_zips=elsewhere"]


def copy_weights(workflow: Workflow) -> list[str]:
    return [f"model={shutil.copyfile(WEIGHTS, workflow.folder / 'copy.pt')}"]


def change_speed(workflow: Workflow) -> list[str]:
    return ["batch=3", "workers=2", "device=cpu", "engine=torch", "strict=false"]


@pytest.mark.parametrize("change", [touch, copy, move, copy_weights, change_speed])
def test_what_reruns_nothing(change: Callable[[Workflow], list[str]], workflow: Workflow) -> None:
    """Each change gives the configuration that goes with it."""
    assert workflow.jobs("-n", config=change(workflow)) == {}


def test_other_content_with_an_older_time_reruns_that_archive_alone(workflow: Workflow) -> None:
    archive = make_zip(workflow.folder / "raw_zips/images(1).zip", [("new.jpg", encoded("zidane"))])
    os.utime(archive, (1_000_000_000, 1_000_000_000))
    assert workflow.jobs() == {"crop_archive": 1, "summarize": 1}
    assert {row["member"] for row in workflow.manifest("images(1)")} == {"new.jpg"}
    # Nothing is left of the old content.
    files = {path.name for path in (workflow.folder / "output/Person/images(1)").rglob("*.jpg")}
    assert files == {Path(row["file"]).name for row in workflow.manifest("images(1)")}
    assert not list((workflow.folder / "output/No_Person/images(1)").rglob("*.png"))


def test_a_new_archive_is_done_alone(workflow: Workflow) -> None:
    make_zip(workflow.folder / "raw_zips/new.zip", [("new.jpg", encoded("bus"))])
    assert workflow.jobs() == {"crop_archive": 1, "summarize": 1}
    # The same photo as in images(1), which comes first.
    assert workflow.summary()["new"]["duplicates"] == "1"


def test_an_archive_taken_away_leaves_the_summary_and_is_pruned(workflow: Workflow) -> None:
    (workflow.folder / "raw_zips/images(1).zip").unlink()
    result = workflow.run()
    assert "rule crop_archive" not in result.stdout
    assert "results without an archive: 1 (`snakemake prune` deletes them)\n  images(1)" in result.stdout
    assert list(workflow.summary()) == ["-Größe [2]/it's"]
    kept = workflow.folder / "output/Person/-Größe [2]/it's"
    assert (workflow.folder / "output/Person/images(1)").exists()
    assert workflow.jobs("prune") == {"prune": 1}
    assert not (workflow.folder / "output/Person/images(1)").exists()
    assert not (workflow.folder / "output/manifests/images(1).csv").exists()
    assert list(kept.glob("*.jpg"))
    assert workflow.jobs() == {}


@pytest.mark.parametrize(
    "setting",
    [
        "crop={padding: 0.1}",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("confidence=0.5", "limits={megapixels: 50}")),
    ],
)
def test_what_changes_results_reruns_all(workflow: Workflow, setting: str) -> None:
    assert workflow.jobs("-n", config=[setting]) == ALL


def test_why_archives_are_done_again_is_said(workflow: Workflow) -> None:
    make_zip(workflow.folder / "raw_zips/images(1).zip", [("new.jpg", encoded("zidane"))])
    assert "\nzipcrop: done again: 1 for other content\n" in workflow.run("-n").stdout
    assert "\nzipcrop: done again: 1 for other content\n" in workflow.run("--cores", "2").stdout


def other_weights(workflow: Workflow) -> str:
    import torch

    checkpoint = torch.load(WEIGHTS, weights_only=False, map_location="cpu")
    torch.save({**checkpoint, "note": "other content"}, workflow.folder / "other.pt")
    return "model=other.pt"


def test_other_weights_rerun_all(workflow: Workflow) -> None:
    assert workflow.jobs("-n", config=[other_weights(workflow)]) == {"prepare_model": 1, **ALL}


@pytest.mark.slow
def test_weights_of_before_are_still_prepared(workflow: Workflow) -> None:
    assert workflow.jobs(config=[other_weights(workflow)]) == {"prepare_model": 1, **ALL}
    assert workflow.jobs("-n") == ALL


@pytest.mark.slow
def test_int8_is_quantised_once(workflow: Workflow) -> None:
    int8 = ["precision=int8"]
    assert workflow.jobs(config=int8) == {"quantize_model": 1, **ALL}
    assert workflow.jobs(config=int8) == {}
    make_zip(workflow.folder / "raw_zips/new.zip", [("new.jpg", encoded("bus"))])
    assert workflow.jobs(config=int8) == {"crop_archive": 1, "summarize": 1}
    assert {row["status"] for row in workflow.manifest("new")} == {"person"}
    again = workflow.jobs("-n", "all", "--forcerun", "quantize_model", config=int8)
    assert again == {"quantize_model": 1, "crop_archive": 3, "summarize": 1}
    assert workflow.jobs() == {"crop_archive": 3, "summarize": 1}


def test_strict_fails_at_the_end_and_keeps_everything(workflow: Workflow) -> None:
    result = workflow.run(config=["strict=true"])
    assert result.returncode == 1
    assert "strict: failures: 1, in images(1); the reasons" in result.stdout
    assert (workflow.folder / "output/summary.csv").exists()
    make_zip(workflow.folder / "raw_zips/images(1).zip", [("good.jpg", encoded("bus"))])
    assert workflow.jobs(config=["strict=true"])["require_no_failures"] == 1
    assert workflow.jobs(config=["strict=true"]) == {}


@pytest.mark.slow
def test_lost_results_are_made_again(workflow: Workflow) -> None:
    """The losses of tests/workflow/test_records.py, one after the other."""
    (workflow.folder / "output/manifests/images(1).csv").unlink()
    assert workflow.jobs() == {"crop_archive": 1, "summarize": 1}
    shutil.rmtree(workflow.folder / "output/No_Person/images(1)")
    assert workflow.jobs() == {"crop_archive": 1, "summarize": 1}
    assert (workflow.folder / "output/No_Person/images(1)/sub/empty.png").exists()
    assert workflow.jobs() == {}


def test_a_bad_archive_stops_nothing_and_is_named(workflow: Workflow) -> None:
    (workflow.folder / "raw_zips/broken.zip").write_bytes(b"<html>404 not found</html>")
    result = workflow.run()
    assert result.returncode == 0, result.stdout
    assert "archive raw_zips/broken.zip is not a ZIP archive" in result.stdout
    assert workflow.summary()["broken"]["failed"] == "1"
    assert workflow.jobs() == {}


BAD_CONFIGURATIONS = [
    ("crop={paddin: 1}", "config: unknown key crop.paddin; did you mean padding?"),
    ("raw_zips=nowhere", "there is no folder nowhere; make it and put ZIP archives into it, or set raw_zips"),
    ("model=nowhere/best.pt", "there are no weights at nowhere/best.pt"),
]
# The sentences are in tests/unit/test_settings.py, too.
MORE_BAD_CONFIGURATIONS = [
    ("confidnece=0.4", "config: unknown key confidnece; did you mean confidence?"),
    ("confidence=2", "config: confidence is 2, but must be a number above 0 up to 1"),
    ("workers=many", "config: workers is 'many', but must be auto or a whole number"),
]


@pytest.mark.parametrize(
    ("config", "said"),
    [*BAD_CONFIGURATIONS, *(pytest.param(*each, marks=pytest.mark.slow) for each in MORE_BAD_CONFIGURATIONS)],
)
def test_bad_configuration_stops_the_run_with_one_sentence(workflow: Workflow, config: str, said: str) -> None:
    result = workflow.run("-n", config=[config])
    assert result.returncode == 1
    errors = [line for line in result.stdout.splitlines() if "error" in line.lower()]
    assert len(errors) == 1
    assert errors[0].startswith(f"zipcrop: error: {said}")
    assert "Building DAG" not in result.stdout


def test_nothing_uses_the_network(prepared: Path, tmp_path: Path) -> None:
    """But the step that fetches weights, which is in test_official_weights.py; here they are there."""
    assert not (prepared / "network_used").exists()
    # The guard is not blind.
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    for line in (code, "import urllib.request; urllib.request.urlopen('http://localhost:9')"):
        environment = {**os.environ, **without_network(tmp_path / str(len(line)))}
        subprocess.run([sys.executable, "-c", line], env=environment, capture_output=True, check=False)
        assert (tmp_path / str(len(line)) / "network_used").exists()


@pytest.mark.parametrize(
    ("gpus", "threads"), [(3, 2), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((1, 8), (2, 4)))]
)
def test_gpus_share_the_cores(gpus: int, threads: int, workflow: Workflow) -> None:
    result = workflow.run("-n", "--forceall", "--cores", "8", "--resources", f"gpu={gpus}")
    assert result.stdout.count(f"threads: {threads}\n") == 2, result.stdout


def test_snakemake_finds_nothing_to_complain_about(workflow: Workflow) -> None:
    result = workflow.run("--lint")
    assert "Congratulations" in result.stdout, result.stdout


def test_a_fresh_clone_can_be_linted(tmp_path: Path) -> None:
    """There are neither archives nor weights."""
    workflow = Workflow.create(tmp_path, omitted=())
    command = [str(Path(sys.executable).parent / "snakemake"), "--lint"]
    result = subprocess.run(command, cwd=workflow.folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Congratulations" in result.stderr


def test_the_manifest_is_rfc_4180(prepared: Path) -> None:
    data = (prepared / "output/manifests/images(1).csv").read_bytes()
    assert data.endswith(b"\r\n")
    rows = list(csv.reader(data.decode().split("\r\n")[:-1]))
    assert {len(row) for row in rows} == {16}


def test_the_snakefile_is_short() -> None:
    assert len((ROOT / "Snakefile").read_text().splitlines()) < 60
