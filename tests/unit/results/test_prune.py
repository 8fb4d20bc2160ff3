"""The script that deletes results, as the workflow calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.files import make_zip
from helpers.project import ROOT
from helpers.results import people, publish


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with an archive, and with results of two that are gone, too."""
    make_zip(tmp_path / "raw/live.zip", [("x", b"")])
    publish(tmp_path / "output", {archive: [people("a.jpg", 0.9)] for archive in ("gone", "live", "lost")})
    return tmp_path


def prune(folder: Path) -> list[str]:
    """What the script says of the archives in `folder / "raw"` and their results in `folder / "output"`."""
    command = [sys.executable, str(ROOT / "workflow/scripts/prune.py")]
    command += [f"--raw-zips={folder / 'raw'}", f"--output={folder / 'output'}"]
    done = subprocess.run(command, capture_output=True, env={})
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().replace(f"{folder}/", "").splitlines()


def crops(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in (folder / "output/Person").rglob("*.jpg"))


def test_results_of_archives_that_are_gone(folder: Path) -> None:
    assert prune(folder) == ["deleted the results of gone", "deleted the results of lost"]
    assert crops(folder) == ["live"]
    assert prune(folder) == ["nothing to prune in output"]


def test_what_is_none_of_an_archives_files_is_named_and_left_alone(folder: Path) -> None:
    manifest = folder / "output/manifests/gone.csv"
    manifest.write_text(manifest.read_text().replace("Person/gone/a_0.jpg", "Person/live/a_0.jpg"))
    assert prune(folder) == [
        "warning: the manifest of gone names what is no file of its results; it is left alone: 'Person/live/a_0.jpg'",
        "deleted the results of gone",
        "deleted the results of lost",
    ]
    assert crops(folder) == ["gone", "live"]


def test_a_manifest_that_cannot_be_read_stops_nothing_else(folder: Path) -> None:
    (folder / "output/manifests/gone.csv").write_text("")
    assert prune(folder) == [
        "warning: which files are those of gone cannot be told, since output/manifests/gone.csv is empty;"
        " delete them yourself",
        "deleted the results of lost",
    ]
    assert crops(folder) == ["gone", "live"]
