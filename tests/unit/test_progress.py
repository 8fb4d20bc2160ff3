from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest

from zipcrop import progress
from zipcrop.progress import Progress


def test_lines_on_terminal_and_in_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_INTERVAL", 0.0)
    terminal = io.StringIO()
    with Progress("images(1)", tmp_path / "logs" / "a.log", terminal) as shown:
        shown.start(total=10, done=4)
        for _ in range(3):
            shown.step(is_image=True)
        shown.log("in the log alone")
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r"images\(1\): 7/10 members, \d+\.\d images/s, 0 s left", lines[-1])
    log = (tmp_path / "logs" / "a.log").read_text()
    assert lines[-1] in log and "in the log alone" in log


def test_the_log_says_why_a_job_stopped(tmp_path: Path) -> None:
    with pytest.raises(ValueError), Progress("a", tmp_path / "a.log", io.StringIO()):
        raise ValueError("the reason")
    assert "stopped: the reason" in (tmp_path / "a.log").read_text()


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (360, "6 min"), (7500, "2 h 05 min")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert progress.in_words(seconds) == words


def test_a_terminal_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as terminal, Progress("a", tmp_path / "a.log", terminal) as progress:
        progress.say("one")
        progress.say("two")
    assert [line.split(": ")[-1] for line in (tmp_path / "a.log").read_text().splitlines()] == ["one", "two"]
