"""Reading files of results that may be damaged: what is wrong with one becomes a sentence that names it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from zipcrop.errors import ResultsError, machine_faults


class Flaw(ValueError):
    """What is wrong with a file, as the end of a sentence that begins with its name."""


@contextlib.contextmanager
def reading(path: Path, archive: str, kind: str) -> Iterator[None]:
    """Turns the errors of the `with` block, which reads the file at `path`, a `kind` of the archive's, into a
    ResultsError or, if the machine is at fault, a MachineError."""
    try:
        with machine_faults(f"reading {path}"):
            if not path.is_file():
                raise Flaw("is no file" if path.exists() else "is missing")
            if not path.stat().st_size:
                raise Flaw("is empty")
            yield
    except Flaw as flaw:
        what = str(flaw)
    except (ValueError, LookupError, OverflowError, RecursionError):  # what the readers of CSV and JSON raise
        what = f"is no {kind}"
    else:
        return
    raise ResultsError(archive, f"{path} {what}") from None
