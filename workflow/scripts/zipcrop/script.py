"""How a script that a rule calls runs: one sentence for an error, and a log of its own."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from zipcrop.errors import ZipcropError, machine_faults
from zipcrop.terminal import printable

Shown = Literal["error", "failure", "all"]
"""What the terminal gets of a log: the last line of a failure, all lines of a failure, or all lines in any case."""


def run_script(main: Callable[[], None], shown: Shown | None = None) -> None:
    """Runs a script's `main`. A ZipcropError becomes one sentence on stderr and exit status 1, without a traceback.

    With `shown`, the script takes the option `--log=FILE`, which `main` does not see. Everything that this process, its
    libraries and its children print goes to that file and, at the end, to the terminal as far as `shown` says; but not
    if a signal kills the script. A terminal that is gone does no harm. Without `--log`, the terminal gets everything at
    once.
    """
    log = _take_log() if shown else None
    if shown is None or log is None:
        _run(main)
    else:
        _run(lambda: _run_logged(main, log, shown))


def _run(main: Callable[[], None]) -> None:
    try:
        main()
    except ZipcropError as error:
        sys.exit(f"zipcrop: error: {printable(str(error))}")
    except KeyboardInterrupt:
        sys.exit("zipcrop: interrupted; run again to carry on")


def _take_log() -> Path | None:
    """The file that `--log` names. The option is taken off the command line."""
    options = [argument for argument in sys.argv if argument.startswith("--log=")]
    sys.argv = [argument for argument in sys.argv if argument not in options]
    return Path(options[-1].removeprefix("--log=")) if options else None


def _run_logged(main: Callable[[], None], log: Path, shown: Shown) -> None:
    """Raises MachineError where the log cannot be written, and SystemExit where `main` fails."""
    stdout, stderr = os.dup(1), os.dup(2)  # children do not inherit these
    with machine_faults(f"writing {log}"):
        log.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Lines stand in the log in the order in which they were printed, also between those of libraries.
        sys.stdout.reconfigure(line_buffering=True)
    status, words = _outcome(main)
    text = _text(log, words)
    if status:
        _show(stderr, text if shown != "error" else text.rpartition(b"\n")[2])
        sys.exit(status)
    if shown == "all":
        _show(stdout, text)


def _outcome(main: Callable[[], None]) -> tuple[int, str]:
    """The exit status that `main` ends with and, where it fails, the sentence or the traceback that it leaves."""
    try:
        _run(main)
    except SystemExit as error:
        if not isinstance(error.code, str):
            return error.code or 0, ""
        words = error.code
    except BaseException:
        words = traceback.format_exc().strip()
    else:
        return 0, ""
    try:
        print(words, file=sys.stderr, flush=True)
    except OSError:  # a full disk, which the terminal is told of
        # What is left in buffers is flushed at the end, and would change the exit status if that failed.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
    return 1, words


def _text(log: Path, words: str) -> bytes:
    """What is in the log, and `words`, for which the disk may have had no room."""
    said = words.encode(errors="backslashreplace")
    with contextlib.suppress(OSError):
        text = log.read_bytes().rstrip()
        return text if text.endswith(said) else b"\n".join(filter(None, (text, said)))
    return said


def _show(terminal: int, text: bytes) -> None:
    """Writes `text` to the descriptor `terminal`, unless there is no terminal any more."""
    left = text + b"\n" if text else b""
    with contextlib.suppress(OSError):
        while left:
            left = left[os.write(terminal, left) :]
