"""The script that writes the summary, as the workflow calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, make_zip

from results import failed, publish


def summarize(folder: Path, **environment: str) -> str:
    """What the script says of the archives in `folder / "raw"` and their results in `folder / "output"`."""
    command = [sys.executable, ROOT / "workflow/scripts/summarize.py"]
    command += [f"--raw-zips={folder / 'raw'}", f"--output={folder / 'output'}"]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode(environment.get("PYTHONIOENCODING", "utf-8"))


@pytest.mark.parametrize("environment", [{}, {"PYTHONIOENCODING": "ascii"}])
def test_no_name_writes_a_line_or_moves_the_cursor(environment: dict[str, str], tmp_path: Path) -> None:
    archive = "Größe\x7f\x9b2J\u202e\u2028done"
    make_zip(tmp_path / "raw" / f"{archive}.zip", [("x", b"")])
    publish(tmp_path / "output", {archive: [failed("a\x1b[2J\nb", "odd\x1b[2J\ndone")], "gone\x1b[2J": []})
    said = summarize(tmp_path, **environment)
    lines = said.split("\n")
    assert all(line.isprintable() for line in lines)
    assert len(lines) == 1 + 2 + 2 + 1
    assert "odd\\x1b[2J\\x0adone" in lines[2]
    assert "gone\\x1b[2J" in lines[4]
