"""The records beside the results decide which archives are done again: in another copy of the program, after losses,
while archives cannot be read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.environment import patched_everywhere
from helpers.files import make_zip
from helpers.output import contents, results
from helpers.photos import encoded
from helpers.workflow import Workflow

ALL = {"crop_archive": 2, "summarize": 1}


@pytest.fixture
def another_copy(workflow: Workflow, tmp_path: Path) -> Workflow:
    """Another copy of the program, just made, that works on the archives and the output folder of `workflow`."""
    folder = tmp_path / "another copy"
    folder.mkdir()
    other = Workflow.create(folder)
    for name in ("raw_zips", "output"):
        (folder / name).symlink_to(workflow.folder / name)
    return other


@pytest.mark.slow
def test_another_copy_does_again_what_differs_and_nothing_else(workflow: Workflow, another_copy: Workflow) -> None:
    assert another_copy.jobs() == {}
    new = make_zip(workflow.folder / "raw_zips/new.zip", [("new.jpg", encoded("bus"))])
    assert another_copy.jobs() == {"prepare_model": 1, "crop_archive": 1, "summarize": 1}
    new.unlink()
    assert another_copy.jobs() == {"summarize": 1}
    assert "new" not in another_copy.summary()
    # Results that one copy has made with other settings are done for the other, too, which remembers other ones.
    other = ["confidence=0.5"]
    assert another_copy.jobs(config=other) == ALL
    assert workflow.jobs(config=other) == {}
    assert workflow.jobs() == ALL
    assert another_copy.jobs() == {}


@pytest.mark.slow
def test_another_copy_with_other_weights(workflow: Workflow, another_copy: Workflow) -> None:
    import torch

    weights = workflow.folder / "other.pt"
    torch.save({**torch.load("demo/person-n.pt", weights_only=False), "note": "other content"}, weights)
    other = [f"model={weights}"]
    assert another_copy.jobs(config=other) == {"prepare_model": 1, **ALL}
    assert workflow.jobs(config=other) == {}
    make_zip(workflow.folder / "raw_zips/new.zip", [("new.jpg", encoded("bus"))])
    assert workflow.jobs(config=other) == {"prepare_model": 1, "crop_archive": 1, "summarize": 1}
    assert another_copy.jobs(config=other) == {}


def test_an_archive_with_a_bad_name_stops_no_other_and_deletes_nothing(workflow: Workflow) -> None:
    for name in ("...zip", "x/...zip", "..zip", "a{b}.zip"):
        make_zip(workflow.folder / "raw_zips" / name, [("new.jpg", encoded("bus"))])
    before = contents(workflow.output)
    result = workflow.run()
    assert result.returncode == 0, result.stdout
    after = contents(workflow.output)
    assert {file: after[file] for file in before if file != "summary.csv"} == {
        file: content for file, content in before.items() if file != "summary.csv"
    }
    bad = {row["zip"]: row["failed"] for row in workflow.summary().values() if row["failed"] == row["members"]}
    assert bad == {f"raw_zips/{name}": "1" for name in ("...zip", "x/...zip", "..zip", "a{b}.zip")}
    said = result.stdout[result.stdout.rindex("failed: ") :]
    for name in ("...zip", "x/...zip", "..zip"):
        assert f"archive raw_zips/{name} has a name that no folder could have; rename it" in said
    assert workflow.jobs() == {}


def test_while_an_archive_cannot_be_read_its_results_stay(workflow: Workflow) -> None:
    archive = workflow.folder / "raw_zips/images(1).zip"
    archive.rename(workflow.folder / "away.zip")
    archive.symlink_to(workflow.folder / "elsewhere.zip")
    before = contents(workflow.output)
    make_zip(workflow.folder / "raw_zips/new.zip", [("new.jpg", encoded("bus"))])
    result = workflow.run()
    assert result.returncode == 1
    assert (
        "images(1): cannot be read (is a symbolic link to a file that is not there); its results are" in result.stdout
    )
    assert "not done: 1 of 3 archives" in result.stdout
    after = contents(workflow.output)
    assert {file: content for file, content in after.items() if file in before and file != "summary.csv"} == {
        file: content for file, content in before.items() if file != "summary.csv"
    }
    # Everything else is done.
    assert list(workflow.summary()) == ["-Größe [2]/it's", "images(1)", "new"]
    assert workflow.run().returncode == 1
    archive.unlink()
    (workflow.folder / "away.zip").rename(archive)
    assert workflow.jobs() == {}


def test_what_another_release_made_with_other_commands_is_not_made_again(workflow: Workflow) -> None:
    """What Snakemake remembers of it counts for nothing."""
    made = 0
    for path in (workflow.folder / ".snakemake/metadata").iterdir():
        record = json.loads(path.read_text())
        if record["rule"] in ("prepare_model", "crop_archive", "summarize"):
            path.write_text(json.dumps({**record, "code": "another command"}))
            made += 1
    assert made == 6
    assert workflow.jobs() == {}


FAILING = """
def patch(module):
    def fail(*arguments, **options):
        raise OSError(5, "Input/output error")

    module.Staging.publish = fail
"""


def test_a_job_that_fails_leaves_what_was_there(workflow: Workflow, tmp_path: Path) -> None:
    before = results(workflow.output, records=True)
    failing = patched_everywhere(tmp_path / "failing", "zipcrop.job.staging", FAILING)
    for arguments, config in (((), ["confidence=0.5"]), (("--forcerun", "crop_archive"), [])):
        result = workflow.run(*arguments, config=config, env=failing)
        assert result.returncode == 1, result.stdout
        assert "not done: 2 of 2 archives" in result.stdout, result.stdout
        assert results(workflow.output, records=True) == before
    # The wish to have it done again outlives the run.
    assert workflow.jobs() == ALL
    assert results(workflow.output).items() <= before.items()
    assert workflow.jobs() == {}


@pytest.mark.slow
def test_what_is_asked_for_is_done_again(workflow: Workflow) -> None:
    before = contents(workflow.output)
    assert workflow.jobs("--forcerun", "crop_archive") == ALL
    assert workflow.jobs("--forcerun", "output/manifests/images(1).csv") == {"crop_archive": 1, "summarize": 1}
    assert contents(workflow.output) == before
    assert workflow.jobs() == {}


@pytest.mark.slow
def test_only_what_is_forced_is_forced(workflow: Workflow) -> None:
    assert workflow.jobs("--force", "output/manifests/images(1).csv") == {"crop_archive": 1}
    assert workflow.jobs("--force", "verify") == {"verify": 1}
    assert workflow.jobs() == {"summarize": 1}
    assert workflow.jobs() == {}


@pytest.mark.slow
@pytest.mark.parametrize("link", ["summary", "manifests", "Person", ".staging"])
def test_a_folder_of_the_output_that_is_a_link_is_refused(link: str, workflow: Workflow) -> None:
    elsewhere = workflow.folder / "elsewhere"
    (elsewhere / "sheets" / "crops").mkdir(parents=True)
    (elsewhere / "sheets" / "crops" / "mine.jpg").touch()
    shutil.rmtree(workflow.folder / "output" / link, ignore_errors=True)
    (workflow.folder / "output" / link).symlink_to(elsewhere)
    result = workflow.run()
    assert result.returncode == 1
    assert f"zipcrop: error: output/{link} leads out of output, by its name or by a link; see" in result.stdout
    assert [path.name for path in elsewhere.rglob("*") if path.is_file()] == ["mine.jpg"]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


ONE = {"crop_archive": 1, "summarize": 1}
LOSSES: list[tuple[str, Callable[[Path], object], dict[str, int]]] = [
    ("manifests/images(1).csv", empty, ONE),
    ("manifests/images(1).csv", cut, ONE),
    ("manifests/images(1).json", cut, ONE),
    ("manifests/images(1).sha256", Path.unlink, ONE),
    ("Person/images(1)/bus_0.jpg", empty, ONE),
    ("Person/images(1)/bus_0.jpg", Path.unlink, ONE),
    ("No_Person/images(1)/sub/empty.png", cut, ONE),
    ("No_Person/images(1)", shutil.rmtree, ONE),
    ("summary.csv", empty, {"summarize": 1}),
    ("summary.csv", cut, {"summarize": 1}),
]


@pytest.mark.parametrize(("lost", "loss", "jobs"), [LOSSES[0], LOSSES[4]])
def test_what_a_power_cut_took_is_made_again(
    lost: str, loss: Callable[[Path], object], jobs: dict[str, int], workflow: Workflow
) -> None:
    before = contents(workflow.output)
    loss(workflow.folder / "output" / lost)
    assert workflow.jobs() == jobs
    assert contents(workflow.output) == before
    assert workflow.jobs() == {}


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "loss", "jobs"), [each for each in LOSSES if each not in LOSSES[0:5:4]])
def test_every_other_loss_is_made_good(
    lost: str, loss: Callable[[Path], object], jobs: dict[str, int], workflow: Workflow
) -> None:
    test_what_a_power_cut_took_is_made_again(lost, loss, jobs, workflow)


@pytest.mark.slow
def test_a_damaged_model_is_made_anew_in_the_same_run(workflow: Workflow) -> None:
    make_zip(workflow.folder / "raw_zips/images(1).zip", [("new.jpg", encoded("bus"))])
    (weights,) = workflow.folder.glob("models/prepared/*/openvino.bin")
    data = weights.read_bytes()
    weights.write_bytes(data[:100_000] + bytes(4096) + data[104_096:])
    assert workflow.jobs() == {"prepare_model": 1, "crop_archive": 1, "summarize": 1}
    assert {row["status"] for row in workflow.manifest("images(1)")} == {"person"}
    assert workflow.jobs() == {}


def test_what_others_leave_among_the_results_stops_nothing(workflow: Workflow) -> None:
    (workflow.folder / "output/Person/images(1)/.DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (workflow.folder / "output/Person/images(1)/mine.txt").write_text("a note")
    assert workflow.jobs() == {}
    result = workflow.run("--forcerun", "summarize")
    assert result.returncode == 0, result.stdout
    assert "images(1)" in result.stdout
    assert "mine.txt" in result.stdout
    assert (workflow.folder / "output/Person/images(1)/mine.txt").exists()


@pytest.mark.slow
def test_verifying_finds_other_bytes(workflow: Workflow) -> None:
    result = workflow.run("verify")
    assert result.returncode == 0, result.stdout
    assert "2 are as they were written" in result.stdout, result.stdout
    crop = workflow.folder / "output/Person/images(1)/bus_0.jpg"
    data = crop.read_bytes()
    crop.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    assert workflow.jobs() == {}  # nothing that a look at sizes would tell
    result = workflow.run("verify")
    assert result.returncode == 1
    assert "images(1): Person/images(1)/bus_0.jpg is not what was written" in result.stdout
    assert workflow.jobs("--forcerun", "output/manifests/images(1).csv") == ONE
    assert crop.read_bytes() == data
    assert workflow.run("verify").returncode == 0
