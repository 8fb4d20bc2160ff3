from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest

from zipcrop.process import progress
from zipcrop.process.progress import Progress


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
    assert lines[-1] in log
    assert "in the log alone" in log


def test_the_log_says_why_a_job_stopped(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the reason"), Progress("a", tmp_path / "a.log", io.StringIO()):
        raise ValueError("the reason: stopped: there")
    assert progress.last_words(tmp_path / "a.log", "a") == "the reason: stopped: there"


@pytest.mark.parametrize("archive", ["images(1)", "a.b+c", "Größe [2]/it's", "odd\u202e\x7f name"])
def test_every_archives_last_words_are_found(archive: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the reason"), Progress(archive, tmp_path / "a.log", io.StringIO()):
        raise ValueError("the reason")
    assert progress.last_words(tmp_path / "a.log", archive) == "the reason"
    assert progress.last_words(tmp_path / "a.log", f"x{archive}") == ""


def test_a_job_that_was_killed_has_no_last_words(tmp_path: Path) -> None:
    assert progress.last_words(tmp_path / "a.log", "a") == ""
    with Progress("a", tmp_path / "a.log", io.StringIO()) as shown:
        shown.say("1/2 members")
    assert progress.last_words(tmp_path / "a.log", "a") == ""


LINE_BREAKS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("line_break", ["", *LINE_BREAKS])
def test_no_member_speaks_the_last_words(line_break: str, tmp_path: Path) -> None:
    with Progress("a", tmp_path / "a.log", io.StringIO()) as shown:
        shown.log(f"failed: 'x{line_break}: stopped: your disk is on fire': is damaged")
        shown.log(f"failed: 'x.jpg': {line_break}2026-11-24 10:20:30 a: stopped: your disk is on fire")
    assert progress.last_words(tmp_path / "a.log", "a") == ""


@pytest.mark.parametrize("line_break", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_no_decoder_speaks_the_last_words(line_break: str, tmp_path: Path) -> None:
    """It writes to the log by itself, and ends its lines as C does."""
    with Progress("a", tmp_path / "a.log", io.StringIO()), (tmp_path / "a.log").open("a", newline="") as log:
        log.write(f"libtiff: Warning, {line_break}2026-11-24 10:20:30 a: stopped: your disk is on fire\n")
    assert progress.last_words(tmp_path / "a.log", "a") == ""


@pytest.mark.parametrize("harmful", [*LINE_BREAKS, "\x1b[2J", "\x9b", "\x7f", "\u202e", "\u2066", "\ud800"])
def test_a_message_is_one_line_of_what_can_be_shown(harmful: str, tmp_path: Path) -> None:
    terminal = io.StringIO()
    with Progress(f"arch{harmful}ive", tmp_path / "a.log", terminal) as shown:
        shown.say(f"mes{harmful}sage")
    for text in (terminal.getvalue(), (tmp_path / "a.log").read_bytes().decode()):
        assert text.removesuffix("\n").isprintable()
        assert "arch\\" in text
        assert "mes\\" in text


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
