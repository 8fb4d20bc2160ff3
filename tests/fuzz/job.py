"""The check of the whole crop job: every member and every file of a mutated archive is accounted for."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from archives import (
    BZIP2,
    DEFLATE,
    LZMA,
    PERSON,
    PHOTO,
    Entry,
    assert_only_results_written,
    build,
    first_rows,
)

from fuzz.common import LIMITS
from fuzz.mutations import Edit, mutate, zip_fields
from fuzz.seeds import archive_seeds
from helpers.output import files_below
from zipcrop.archive.reader import Archive, ArchiveError

SETTINGS: dict[str, Any] = {"limits.member_mb": LIMITS.member_mb, "limits.megapixels": LIMITS.megapixels}


def build_archive(mutated_images: Sequence[bytes], edits: Sequence[Edit], draw: int) -> bytes:
    """An archive of `mutated_images` and well-formed ones, in which `edits` are made where the archive still opens."""
    methods = (0, DEFLATE, BZIP2, LZMA)
    names = (b"%d.jpg", b"%d", b"folder/%d.heic", b"../%d.png", b"same.jpg", b"Same.JPG", b"%d.jpg\xff", b"a.jpg/%d")
    entries = [
        Entry(
            names[(index + draw) % len(names)].replace(b"%d", str(index).encode()),
            content,
            method=methods[(index * 7 + draw) % len(methods)],
            zip64=index % 5 == 4,
        )
        for index, content in enumerate(mutated_images)
    ]
    data = build([Entry(b"person.jpg", PERSON), *entries, Entry(b"end.jpg", PHOTO), Entry(b"person.png", PERSON)])
    for edit in edits:
        edited = mutate(data, [edit], zip_fields, archive_seeds()[0])
        with contextlib.suppress(ArchiveError), tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(edited)
            with Archive(file.name, LIMITS) as archive:
                data = edited if archive.members() else data
    return data


def check(data: bytes, folder: Path, archive: str, run: Callable[[Path], list[dict[str, str]]]) -> str:
    """Puts `data` as `<archive>.zip` into `folder`, lets `run` do the job into `folder / "output"`, and
    fails unless every member and every file is accounted for."""
    path = folder / f"{archive}.zip"
    path.write_bytes(data)
    before = files_below(folder)
    rows = run(path)
    assert_only_results_written(before, folder, archive)
    assert_accounted(rows, folder / "output", archive)
    if rows and rows[0]["member_index"] == "-1":
        return f"job: {rows[0]['reason'][:40]}"
    with Archive(str(path), LIMITS) as opened:
        members = opened.members()
    assert [row["member"] for row in first_rows(rows)] == [member.name for member in members]
    statuses = Counter(row["status"] for row in first_rows(rows))
    return "job: with " + ", ".join(sorted(statuses))


def assert_accounted(rows: list[dict[str, str]], output: Path, archive: str) -> None:
    """Every member once, every file in one row, and no other file."""
    if [row["member_index"] for row in rows] == ["-1"]:
        assert (rows[0]["status"], rows[0]["file"]) == ("failed", "")
    else:
        members = first_rows(rows)
        counts = Counter(row["status"] for row in members)
        assert sum(counts[s] for s in ("person", "no_person", "rejected", "failed", "skipped")) == len(members)
    files = [row["file"] for row in rows if row["file"]]
    there = {
        path.relative_to(output).as_posix()
        for kind in ("Person", "No_Person")
        for path in (output / kind / archive).rglob("*")
        if path.is_file()
    }
    assert sorted(files) == sorted(there), set(files) ^ there
    persons = [row for row in rows if row["status"] == "person"]
    assert len(persons) == sum(file.startswith("Person/") for file in there)
    for row in rows:
        assert (row["file"] != "") == (row["status"] in ("person", "no_person")), row
        assert (row["reason"] != "") == (row["status"] in ("rejected", "failed", "skipped")), row
        assert row["reason"].isprintable(), row
