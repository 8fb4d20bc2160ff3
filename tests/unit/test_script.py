from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.project import ROOT
from zipcrop.errors import ConfigError
from zipcrop.script import run_script

SENTENCE = "zipcrop: error: the sentence"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "workflow/scripts")}


def raising(error: BaseException) -> None:
    def main() -> None:
        raise error

    run_script(main)


def test_a_script_ends_with_one_sentence() -> None:
    with pytest.raises(SystemExit) as exit:
        raising(ConfigError("the sentence"))
    assert exit.value.code == SENTENCE


def test_the_sentence_is_one_line_whatever_names_are_in_it() -> None:
    with pytest.raises(SystemExit) as exit:
        raising(ConfigError("a\nb\x1b[2J is missing"))
    assert exit.value.code == "zipcrop: error: a\\x0ab\\x1b[2J is missing"


def test_an_interrupted_script_says_how_to_go_on() -> None:
    with pytest.raises(SystemExit, match="run again to carry on"):
        raising(KeyboardInterrupt())


def test_bugs_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())


LINES = """
print("of the script")
os.write(2, b"of a library\\n")
subprocess.run(["echo", "of a child"])
assert sys.argv == ["script.py", "--option=1"]
"""
SAID = "of the script\nof a library\nof a child\n"
FAILURE = 'raise ConfigError("the sentence")'


def script(folder: Path, code: str, shown: str, *options: str) -> list[str]:
    """A command that runs a script with that code."""
    body = "\n    ".join(["pass", *code.strip().splitlines()])
    (folder / "script.py").write_text(
        "import os, subprocess, sys\n"
        "from zipcrop.errors import ConfigError\n"
        "from zipcrop.script import run_script\n"
        f"def main():\n    {body}\n"
        f'run_script(main, "{shown}")\n'
    )
    return [sys.executable, "script.py", *options]


def run(folder: Path, code: str, shown: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = script(folder, code, shown, *options)
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("shown", "stdout"), [("error", ""), ("failure", ""), ("all", SAID)])
def test_all_that_is_said_is_in_the_log(shown: str, stdout: str, tmp_path: Path) -> None:
    result = run(tmp_path, LINES, shown, "--option=1", "--log=logs/a b.log")
    assert (tmp_path / "logs/a b.log").read_text() == SAID
    assert (result.returncode, result.stdout, result.stderr) == (0, stdout, "")


@pytest.mark.parametrize(("shown", "seen"), [("error", ""), ("failure", SAID), ("all", SAID)])
def test_an_error_is_on_the_terminal_and_in_the_log(shown: str, seen: str, tmp_path: Path) -> None:
    result = run(tmp_path, LINES + FAILURE, shown, "--option=1", "--log=log")
    assert (tmp_path / "log").read_text() == f"{SAID}{SENTENCE}\n"
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"{seen}{SENTENCE}\n")


def test_of_a_bug_the_log_has_the_traceback(tmp_path: Path) -> None:
    for shown, lines in (("error", 1), ("all", 5)):
        result = run(tmp_path, "print('before')\n1 / 0", shown, "--log=log")
        log = (tmp_path / "log").read_text()
        assert log.startswith("before\nTraceback")
        assert log.endswith("\nZeroDivisionError: division by zero\n")
        assert result.returncode == 1
        assert log.endswith(result.stderr)
        assert len(result.stderr.splitlines()) >= lines


def test_the_exit_status_is_that_of_the_script(tmp_path: Path) -> None:
    assert run(tmp_path, "print('why')\nsys.exit(3)", "error", "--log=log").returncode == 3
    assert run(tmp_path, "sys.exit(0)", "error", "--log=log").returncode == 0


def test_a_lost_terminal_does_no_harm(tmp_path: Path) -> None:
    for code, status in ((LINES, 0), (LINES + FAILURE, 1)):
        reading, writing = os.pipe()
        os.close(reading)
        command = script(tmp_path, code, "all", "--option=1", "--log=log")
        done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, stdout=writing, stderr=writing, check=False)
        os.close(writing)
        assert done.returncode == status
        assert (tmp_path / "log").read_text().startswith(SAID)


def test_a_full_disk_is_said_all_the_same(tmp_path: Path) -> None:
    full = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"  # no file takes another byte
    result = run(tmp_path, full + FAILURE, "all", "--log=log")
    assert (tmp_path / "log").read_bytes() == b""
    assert (result.returncode, result.stderr) == (1, f"{SENTENCE}\n")


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    result = run(tmp_path, LINES, "error", f"--log={tmp_path}")
    assert result.returncode == 1
    assert result.stderr == f"zipcrop: error: Is a directory while writing {tmp_path}; check the disk and run again\n"


def test_without_a_log_the_terminal_gets_everything(tmp_path: Path) -> None:
    result = run(tmp_path, "print('said')\n" + FAILURE, "error")
    assert (result.returncode, result.stdout, result.stderr) == (1, "said\n", f"{SENTENCE}\n")
