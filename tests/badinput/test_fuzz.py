"""Mutated archives, images and journals, and any names: what has to hold of all of them. `tests/fuzz` has the
mutations and the checks, and tries more of them by hand.

Always the same examples, so that a change is to blame if they fail; the input is saved, and `python -m fuzz --replay`
tries it again.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
import tempfile
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from archives import BZIP2, DEFLATE, LZMA, PERSON, PHOTO, STORED, UTF8, Entry, build, first_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import apng_that_crashes_opencv, bombs_by_header

from fuzz import archive, job, mutations
from fuzz.common import SECONDS
from fuzz.image import Decoder
from fuzz.mutations import Edit, image_fields, mutate, zip_fields
from fuzz.seeds import archive_seeds, image_seeds
from helpers.effort import time_limit
from helpers.files import make_zip
from zipcrop.job.staging import Staging
from zipcrop.results.manifest import Content, Outcome, Person
from zipcrop.results.names import output_names

if TYPE_CHECKING:
    from helpers.job import Crop


def examples(count: int) -> settings:
    """Settings: so many examples, whatever the speed of the machine."""
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


number = st.integers(0, 0xFFFF)
edits = st.lists(st.tuples(number, number, number, number), min_size=1, max_size=5)


@contextlib.contextmanager
def saved(layer: str, data: bytes, folder: Path) -> Iterator[None]:
    """Leaves `data` in a file if the block fails; of several, the last and shortest."""
    try:
        yield
    except BaseException as error:
        path = folder / f"{layer}-failed.bin"
        path.write_bytes(data)
        error.add_note(f"The input is in {path}.")
        raise


# -- Archives -------------------------------------------------------------------------------------------------------
def check_archive(data: bytes, folder: Path) -> None:
    with saved("archive", data, folder):
        archive.check(data, folder)


@pytest.mark.parametrize("seed", range(len(archive_seeds())))
def test_an_archive_that_is_whole_is_read_as_zipfile_reads_it(seed: int, tmp_path: Path) -> None:
    check_archive(archive_seeds()[seed], tmp_path)


@examples(500)
@given(seed=st.sampled_from(archive_seeds()), other=st.sampled_from(archive_seeds()), edits=edits)
def test_a_mutated_archive_is_refused_or_read_as_zipfile_reads_it(
    seed: bytes, other: bytes, edits: list[Edit], tmp_path: Path
) -> None:
    check_archive(mutate(seed, edits, zip_fields, other), tmp_path)


@st.composite
def unicode_paths(draw: st.DrawFn, raw: bytes) -> bytes:
    """An extra field with another name, of this one or, wrongly, of none; or another field, cut off or not."""
    kind = draw(st.sampled_from((0x7075, 0x7075, 0x0001, 0xCAFE)))
    crc32 = draw(st.sampled_from((zlib.crc32(raw), 0)))
    body = struct.pack("<BL", draw(st.sampled_from((1, 1, 2))), crc32) + draw(st.binary(max_size=20))
    length = len(body) + draw(st.sampled_from((0, 0, 0, -1, 1, 0x7FFF)))
    return struct.pack("<2H", kind, max(0, length)) + body


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    name = draw(st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode()))
    method = draw(st.sampled_from((STORED, DEFLATE, BZIP2, LZMA)))
    extra = draw(st.just(b"") | unicode_paths(name))
    return Entry(
        name + draw(st.sampled_from((b"", b".jpg"))),
        draw(st.just(PHOTO) | st.binary(max_size=20)),
        method,
        flags=draw(st.sampled_from((0, UTF8))),
        extra=extra,
        local_extra=draw(st.sampled_from((b"", extra))),
        zip64=draw(st.booleans()),
        descriptor=draw(st.sampled_from((None, b"", b"PK\7\x08"))),
        mode=draw(st.sampled_from((0o100644, 0o120777, 0))),
    )


@examples(150)
@given(members=st.lists(entries(), max_size=4), zip64=st.booleans(), comment=st.binary(max_size=30))
def test_names_of_any_bytes_are_those_that_zipfile_has(
    members: list[Entry], zip64: bool, comment: bytes, tmp_path: Path
) -> None:
    check_archive(build(members, zip64=zip64, comment=comment), tmp_path)


# -- Images ---------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as started:
        yield started


def check_image(data: bytes, decoder: Decoder, folder: Path) -> None:
    with saved("image", data, folder):
        decoder.check(data)


@pytest.mark.parametrize("seed", range(len(image_seeds())))
def test_an_image_that_is_whole_is_decoded(seed: int, decoder: Decoder, tmp_path: Path) -> None:
    check_image(image_seeds()[seed], decoder, tmp_path)


@pytest.mark.parametrize("case", bombs_by_header())
def test_an_image_that_declares_much_takes_little(case: str, decoder: Decoder, tmp_path: Path) -> None:
    check_image(bombs_by_header()[case], decoder, tmp_path)


@examples(200)
@given(
    seed=st.sampled_from(image_seeds()),
    other=st.sampled_from(image_seeds()),
    edits=edits,
    with_right_checksums=st.booleans(),
)
def test_a_mutated_image_is_refused_or_decoded(
    seed: bytes,
    other: bytes,
    edits: list[Edit],
    with_right_checksums: bool,
    decoder: Decoder,
    tmp_path: Path,
) -> None:
    data = mutate(seed, edits, image_fields, other)
    if with_right_checksums and data.startswith(b"\x89PNG"):
        data = mutations.with_right_checksums(data)
    check_image(data, decoder, tmp_path)


# -- Whole jobs -----------------------------------------------------------------------------------------------------
MUTATED_IMAGE = st.builds(
    mutate,
    st.sampled_from(image_seeds()),
    edits,
    st.just(image_fields),
    st.sampled_from(image_seeds()),
)
NUMBERS = itertools.count()


@examples(3)
@given(images=st.lists(MUTATED_IMAGE, min_size=20, max_size=40), edits=edits, draw=number)
def test_every_member_and_every_file_of_a_mutated_archive_is_accounted_for(
    images: list[bytes], edits: list[Edit], draw: int, crop: Crop, tmp_path: Path
) -> None:
    data = job.build_archive(images, edits, draw)
    with saved("job", data, tmp_path), time_limit(10 * SECONDS):
        job.check(data, tmp_path, f"fuzzed {next(NUMBERS)}", lambda path: crop(path, **job.SETTINGS))


def test_an_image_that_crashes_opencv_costs_itself_alone(crop: Crop, tmp_path: Path) -> None:
    good = ("good.jpg", PERSON)
    members = [good, good, ("bad.png", apng_that_crashes_opencv()), good]
    rows = first_rows(crop(make_zip(tmp_path / "a.zip", members)))
    assert [row["status"] for row in rows] == ["person", "person", "failed", "person"]


# -- Names ----------------------------------------------------------------------------------------------------------
LETTERS = ["a", "A", "ä", "a\u0308", "Ä", "ß", "SS", "ı", "İ", "ſ", "ﬃ", "\u0345", "\u03b9", "😀"]
SEPARATORS = ["/", "\\", ".", "..", "/../", "_", " ", ":", "?", "\0", "\n", "\x7f", "\u2028", "\u202e", "\ud800"]
ENDS = [".jpg", ".JPG", ".png", "~2", "~3", "_0", "con", "AUX", "C:", ".snakemake_timestamp"]
LONG = ["x" * 225, "é" * 120, "d/" * 520]
PARTS = st.sampled_from([*LETTERS, *SEPARATORS, *ENDS, *LONG])
NAME = st.lists(PARTS, max_size=6).map("".join) | st.text(st.characters(), max_size=12)
LONGEST_NUMBER = 99_999


def key(path: str) -> str:
    """Equal for names that a file system may take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def folders_of(path: str) -> set[str]:
    parts = path.split("/")[:-1]
    return {"/".join(parts[: depth + 1]) for depth in range(len(parts))}


@examples(400)
@given(names=st.lists(NAME, max_size=12))
def test_any_names_become_paths_that_are_safe_and_apart(names: list[str]) -> None:
    made = output_names(names)
    assert len(made) == len(names)
    assert output_names(names) == made
    originals = [name.original for name in made]
    crops = [name.crop(k, "webp") for name in made for k in (0, 1, LONGEST_NUMBER)]
    for files in (originals, crops):
        assert len({key(file) for file in files}) == len(files), files
        folders = {key(folder) for file in files for folder in folders_of(file)}
        assert not folders & {key(file) for file in files}
        for file in files:
            assert len(file.encode()) < 2048  # of the 4096 that Linux takes
            for part in file.split("/"):
                assert part not in ("", ".", "..")
                assert len(part.encode()) <= 255, part
                assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in part)
                assert not set('\\:*?"<>|') & set(part)
                assert not part.endswith((".", " "))


# -- The journal ----------------------------------------------------------------------------------------------------
text = st.text(max_size=10)
real = st.floats(0, 1e4)
STAGED_FILE = "No_Person/ü\u2028.jpg"
STAGED = b"what is journalled is there"
files = st.sampled_from(("", STAGED_FILE))
PERSONS = st.lists(st.builds(Person, st.tuples(real, real, real, real), real, files), max_size=2).map(tuple)
OUTCOMES = st.lists(
    st.builds(
        Outcome,
        st.integers(0, 10**6),
        st.sampled_from(("person", "no_person", "rejected", "failed", "skipped")),
        text,
        st.none() | st.integers(1, 10**5),
        st.none() | st.integers(1, 10**5),
        PERSONS,
        files,
    ).map(lambda outcome: replace(outcome, contents=tuple(Content.of(STAGED) for _ in outcome.files()))),
    max_size=5,
    unique_by=lambda outcome: outcome.index,
)


@examples(60)
@given(outcomes=OUTCOMES, cut=st.integers(0, 10**6), blank=st.booleans())
def test_a_journal_that_was_cut_off_anywhere_resumes_to_what_was_before(
    outcomes: list[Outcome], cut: int, blank: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with Staging(Path(folder), "a", "key") as staging:
            staging.resume()
            (staging.folder / STAGED_FILE).write_bytes(STAGED)
            for outcome in outcomes:
                staging.record(outcome, 1.0)
            journal = next(staging.folder.glob("journal*"))
        whole = journal.read_bytes()
        kept = whole[: cut % (len(whole) + 1)]
        # Some file systems leave zeros where they had no time to write.
        journal.write_bytes(kept + bytes(len(whole) - len(kept)) * blank)
        # The first line is its head.
        before = {outcome.index: outcome for outcome in outcomes[: max(0, kept.count(b"\n") - 1)]}
        again = Outcome(10**7, "failed", "again")
        with Staging(Path(folder), "a", "key") as staging:
            done, _ = staging.resume()
            assert list(done.items()) == list(before.items())
            staging.record(again, 2.0)
        with Staging(Path(folder), "a", "key") as staging:
            assert staging.resume()[0] == {**before, again.index: again}
