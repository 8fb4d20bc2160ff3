"""Runs the script of the rule crop_archive, and then sweeps as the end of a run does; for disturbed jobs.

Takes the arguments of that script, with `=`.
"""

import contextlib
import sys
from pathlib import Path

import crop_archive
from zipcrop.script import run_script


def main() -> None:
    from zipcrop.job import staged

    (output,) = (word.removeprefix("--output=") for word in sys.argv if word.startswith("--output="))
    try:
        crop_archive.main()
    finally:
        # The end of a run sweeps, whatever its jobs did, and fails no run.
        with contextlib.suppress(OSError):
            staged.sweep(Path(output))


# Spawned workers import this file again.
if __name__ == "__main__":
    run_script(main)
