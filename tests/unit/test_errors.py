from __future__ import annotations

import errno

from zipcrop.errors import MachineError, one_line


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
