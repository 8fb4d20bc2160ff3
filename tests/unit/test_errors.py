from __future__ import annotations

import errno

import pytest

from zipcrop.errors import ConfigError, MachineError, one_line, run_script


def raising(error: BaseException) -> None:
    def main() -> None:
        raise error

    run_script(main)


def test_a_script_ends_with_one_sentence() -> None:
    with pytest.raises(SystemExit) as exit:
        raising(ConfigError("the sentence"))
    assert exit.value.code == "zipcrop: error: the sentence"


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


def test_faults_of_the_machine_say_what_to_do() -> None:
    error = OSError(errno.ENOSPC, "no matter", "/data/a.jpg")
    assert str(MachineError.from_os_error(error, "writing")) == (
        "No space left on device while writing (/data/a.jpg); free some space and run again"
    )


def test_what_files_say_is_shown_in_one_short_line_that_no_terminal_obeys() -> None:
    assert one_line("  Größe: 1 \n2") == "Größe: 1"
    assert one_line("\x1b[31mred\u202e\x07") == "[31mred"
    assert one_line("") == one_line("\n") == ""
    assert one_line("a" * 10**6, 10) == "a" * 9 + "…"
