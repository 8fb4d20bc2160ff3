"""The script that writes the summary, as the workflow calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.files import make_zip, read_csv
from helpers.project import ROOT
from helpers.results import failed, people, publish


def summarize(folder: Path, **environment: str) -> str:
    """What the script says of the archives in `folder / "raw"` and their results in `folder / "output"`."""
    command = [sys.executable, str(ROOT / "workflow/scripts/summarize.py")]
    command += [f"--raw-zips={folder / 'raw'}", f"--output={folder / 'output'}"]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode(environment.get("PYTHONIOENCODING", "utf-8"))


@pytest.mark.parametrize("environment", [{}, {"PYTHONIOENCODING": "ascii"}])
def test_no_name_writes_a_line_or_moves_the_cursor(environment: dict[str, str], tmp_path: Path) -> None:
    make_zip(tmp_path / "raw" / "Größe.zip", [("x", b"")])
    publish(
        tmp_path / "output",
        {"Größe": [failed("a\x1b[2J\nb", "odd\x1b[2J\ndone\x7f\x9b2J\u202e\u2028")], "gone\x1b[2J": []},
    )
    said = summarize(tmp_path, **environment)
    lines = said.split("\n")
    assert all(line.isprintable() for line in lines)
    assert len(lines) == 1 + 2 + 2 + 1
    assert "odd\\x1b[2J\\x0adone\\x7f\\x9b2J\\u202e\\u2028" in lines[2]
    assert "gone\\x1b[2J" in lines[4]


def test_one_archives_damaged_results_stop_nothing(tmp_path: Path) -> None:
    for archive in ("good", "cut", "more"):
        make_zip(tmp_path / "raw" / f"{archive}.zip", [("x", b"")])
    output = tmp_path / "output"
    publish(output, {"good": [people("a.jpg", 0.9)], "cut": [people("a.jpg", 0.9)], "more": [people("a.jpg", 0.9)]})
    (output / "manifests/cut.csv").write_bytes((output / "manifests/cut.csv").read_bytes()[:-30])
    (output / "Person/more/mine.jpg").touch()
    (output / "Person/good/.DS_Store").touch()
    assert summarize(tmp_path).splitlines()[1:] == [
        f"warning: results of cut cannot be read: {output}/manifests/cut.csv is cut off; delete it and run again",
        f"warning: {output}/Person/more has 1 file more than its manifest says: 'mine.jpg'",
    ]
    assert [(row["archive"], row["crops"]) for row in read_csv(output / "summary.csv")] == [
        ("good", "1"),
        ("more", "1"),
    ]


def test_warnings_are_not_endless(tmp_path: Path) -> None:
    archives = [f"a{number:02d}" for number in range(30)]
    for archive in archives:
        make_zip(tmp_path / "raw" / f"{archive}.zip", [("x", b"")])
    publish(tmp_path / "output", {archive: [] for archive in archives})
    for archive in archives:
        (tmp_path / "output/manifests" / f"{archive}.json").write_text("")
    lines = summarize(tmp_path).splitlines()
    assert lines[0].startswith("0 archives, 0 images: 0 with people")
    assert (len(lines), lines[-1]) == (22, "  … and 10 more warnings")
