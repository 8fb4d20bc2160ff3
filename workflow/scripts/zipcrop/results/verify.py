"""Verification: whether all results of an archive are what was written, byte for byte."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from zipcrop import files
from zipcrop.errors import MachineError
from zipcrop.results import digests, layout, manifest, soundness


def problems(output: Path, archive: str) -> Iterator[str]:
    """Everything that is wrong with the results of `archive` below the folder `output`, in words. Reads all files."""
    try:
        wanted = set(manifest.named_files(output, archive))
        record = manifest.read_record(output, archive)
    except (OSError, ValueError, LookupError, csv.Error, MachineError) as error:
        yield f"its manifest or record cannot be read ({error})"
        return
    if wrong := soundness.problem(output, archive, record.get("results"), sizes=True):
        yield wrong
    if record.get("results") is None:
        yield "an older version made it, which kept no digests: only names and lengths can be looked at"
        return
    try:
        written = dict(digests.read(layout.digests(output, archive)))
    except (OSError, ValueError, MachineError) as error:
        yield f"its list of digests cannot be read ({error})"
        return
    table = layout.relative(output, layout.manifest(output, archive))
    for file in sorted(wanted ^ (written.keys() - {table})):
        yield f"{file} is in its manifest or in its list of digests, and not in both"
    for file, sha256 in written.items():
        if wrong := _problem(output, file, sha256):
            yield f"{file} {wrong}"
    for file in _others(output, archive, wanted):
        yield f"{file} is none of its results"


def _problem(output: Path, file: str, sha256: str) -> str:
    try:
        with files.open_bytes(layout.inside(output, file)) as content:
            read = hashlib.file_digest(content, "sha256").hexdigest()
    except FileNotFoundError:
        return "is gone"
    except (OSError, MachineError) as error:
        return f"cannot be read ({error})"
    return "" if read == sha256 else "is not what was written"


def _others(output: Path, archive: str, wanted: set[str]) -> Iterator[str]:
    for folder in layout.FOLDERS:
        for parent, _, names in os.walk(layout.results(output, folder, archive)):
            for name in sorted(names):
                file = layout.relative(output, Path(parent, name))
                if file not in wanted and not layout.is_foreign(name):
                    yield file
