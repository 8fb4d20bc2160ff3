"""The workflow as a module of another one, in another folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helpers.files import make_zip
from helpers.output import contents
from helpers.photos import encoded
from helpers.project import ROOT
from helpers.workflow import Workflow
from zipcrop.process import lock

OUTER = """
module zipcrop:
    snakefile:
        "{snakefile}"
    config:
        config
{options}

use rule * from zipcrop{names}


rule count:
    input:
        "output/summary.csv",
    output:
        "lines.txt",
    shell:
        "wc -l < {{input}} > {{output}}"


rule spoil:
    output:
        update("mine.txt"),
    shell:
        "echo spoilt > {{output}}; exit 1"


onstart:
    print("a handler of the outer workflow")
"""


def outer(prepared: Path, folder: Path, names: str = "", options: str = "") -> Workflow:
    """A workflow that uses this one as a module, with the archives and the results of a `prepared` one."""
    folder.mkdir()
    for name in ("raw_zips", "output", "models"):
        shutil.copytree(prepared / name, folder / name)
    text = OUTER.format(snakefile=ROOT / "Snakefile", names=f" as {names}" if names else "", options=options)
    (folder / "Snakefile").write_text(text)
    return Workflow(folder, called(names, "survey", "export_coco"))


def called(names: str, *rules: str) -> list[str]:
    """What rules of the module are called outside."""
    return [names.replace("*", rule) if names else rule for rule in rules]


@pytest.mark.parametrize("names", ["", "zipcrop_*"])
def test_it_works_from_another_folder(names: str, prepared: Path, tmp_path: Path) -> None:
    workflow = outer(prepared, tmp_path / "outer", names)
    before = contents(workflow.output)
    make_zip(workflow.folder / "raw_zips/new.zip", [("new.jpg", encoded("bus"))])
    crop_archive, summarize, everything = called(names, "crop_archive", "summarize", "all")
    result = workflow.run("--cores", "2", everything, "count")
    assert result.returncode == 0, result.stdout
    assert "a handler of the outer workflow" in result.stdout
    assert f"rule {crop_archive}:" in result.stdout
    assert f"rule {summarize}:" in result.stdout
    assert (workflow.folder / "lines.txt").read_text().strip() == "4"
    assert not (workflow.folder / "output/.lock").exists()
    # What was done by its own Snakefile is done for the module, too.
    assert list(workflow.summary()) == ["-Größe [2]/it's", "images(1)", "new"]
    now = contents(workflow.output)
    assert {file: now[file] for file in before if file != "summary.csv"} == {
        file: content for file, content in before.items() if file != "summary.csv"
    }
    assert workflow.jobs("--cores", "2") == {}
    assert workflow.jobs("--cores", "2", "--forcerun", crop_archive) == {crop_archive: 3, summarize: 1}


def test_the_output_is_locked(prepared: Path, tmp_path: Path) -> None:
    workflow = outer(prepared, tmp_path / "outer")
    make_zip(workflow.folder / "raw_zips/new.zip", [("new.jpg", encoded("bus"))])
    with lock.acquire(workflow.folder / "output/.lock"):
        result = workflow.run("--cores", "2")
    assert result.returncode == 1
    assert "zipcrop: error: another run (process " in result.stdout
    assert "rule crop_archive" not in result.stdout


def test_outputs_of_others_are_still_backed_up(prepared: Path, tmp_path: Path) -> None:
    workflow = outer(prepared, tmp_path / "outer")
    (workflow.folder / "mine.txt").write_text("mine")
    assert workflow.run("spoil", "--force", "--cores", "1").returncode == 1
    assert (workflow.folder / "mine.txt").read_text() == "mine"


def test_what_is_not_done_is_named(prepared: Path, tmp_path: Path) -> None:
    workflow = outer(prepared, tmp_path / "outer")
    make_zip(workflow.folder / "raw_zips/new.zip", [("new.jpg", encoded("bus"))])
    (workflow.folder / "output/.staging").mkdir()
    (workflow.folder / "output/.staging/new").touch()
    result = workflow.run("--cores", "2")
    assert result.returncode == 1
    assert "zipcrop: not done: 1 of 3 archives; run again to carry on\n  new: " in result.stdout, result.stdout


def test_a_prefix_is_refused(prepared: Path, tmp_path: Path) -> None:
    workflow = outer(prepared, tmp_path / "outer", options='    prefix:\n        "elsewhere"\n')
    result = workflow.run("--cores", "2")
    assert result.returncode == 1
    assert "zipcrop: error: the module's prefix or replace_prefix would not hold for its results" in result.stdout
    assert "Traceback" not in result.stdout


@pytest.mark.slow
def test_the_report_of_the_outer_workflow_has_the_captions(prepared: Path, tmp_path: Path) -> None:
    workflow = outer(prepared, tmp_path / "outer", "zipcrop_*")
    workflow.omitted = []
    assert workflow.jobs("--cores", "2")["zipcrop_pages"] == 1
    result = workflow.run("--report", "report.html")
    assert result.returncode == 0, result.stdout
    assert "One row per archive, 2 archives in all" in (workflow.folder / "report.html").read_text(encoding="utf-8")
