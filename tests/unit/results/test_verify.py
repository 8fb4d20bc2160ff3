from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from zipcrop import files
from zipcrop.job.staging import Staging
from zipcrop.results import layout, manifest, verify
from zipcrop.results.manifest import Content, Outcome

CONTENTS = {"Person/a/x_0.jpg": b"a crop", "No_Person/a/sub/y.jpg": b"an original"}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    outcomes = [
        Outcome(index, "no_person", file=file, contents=(Content.of(data),))
        for index, (file, data) in enumerate(CONTENTS.items())
    ]
    with Staging(tmp_path, "a", "key") as staged:
        staged.resume()
        for outcome, data in zip(outcomes, CONTENTS.values(), strict=True):
            files.create(staged.folder / outcome.file, data)
        rows = [manifest.Row("a", member_index=outcome.index, file=outcome.file) for outcome in outcomes]
        staged.publish(rows, outcomes, {"archive": "a"})
    return tmp_path


def problems(output: Path) -> list[str]:
    return list(verify.problems(output, "a"))


def test_what_is_as_it_was_written(output: Path) -> None:
    (output / "Person/a/.DS_Store").touch()
    assert problems(output) == []


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def make_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip, "is not what was written"),
        (Path.unlink, "is gone"),
        (lambda path: path.write_bytes(b""), "is not what was written"),
        (make_link, "by its name or by a link"),
        (make_pipe, "not a regular file"),
    ],
)
@pytest.mark.parametrize("file", CONTENTS)
def test_every_other_file_is_named(damage: Callable[[Path], object], said: str, file: str, output: Path) -> None:
    damage(output / file)
    assert [each for each in problems(output) if each.startswith(file) and said in each]
    assert not [each for each in problems(output) if each.startswith((set(CONTENTS) - {file}).pop())]


def test_what_is_none_of_its_results_is_named(output: Path) -> None:
    (output / "Person/a/mine.txt").touch()
    assert problems(output) == ["Person/a/mine.txt is none of its results"]


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.sha256"])
@pytest.mark.parametrize("content", [b"", b"\0\0", b"\xff\xfe", b'"', b"archive,fale\r\nx,y\r\n"])
def test_damaged_lists_are_a_sentence(name: str, content: bytes, output: Path) -> None:
    (output / "manifests" / name).write_bytes(content)
    assert problems(output)


def test_a_flipped_bit_in_the_manifest(output: Path) -> None:
    flip(layout.manifest(output, "a"))
    assert problems(output)


def test_results_of_an_older_version(output: Path) -> None:
    (output / "manifests/a.json").write_text('{"archive": "a"}')
    assert "an older version made it" in problems(output)[-1]
