from __future__ import annotations

from pathlib import Path

import pytest

from zipcrop import manifest
from zipcrop.errors import ZipcropError
from zipcrop.manifest import Outcome, Person
from zipcrop.staging import Staging

PERSON = Outcome(3, "person", "", 9, 8, (Person((1.0, 2.5, 3.0, 4.0), 0.5, "Person/a/x_0.jpg"),))
NO_PERSON = Outcome(4, "no_person", "", 9, 8, (), 0.1, "No_Person/a/y.jpg")


def write(staging: Staging, *outcomes: Outcome) -> None:
    for outcome in outcomes:
        for file in outcome.files():
            (staging.folder / file).write_text(file)
        staging.record(outcome, 1.5)


def test_an_interrupted_job_finds_what_is_done(tmp_path: Path) -> None:
    first = Staging(tmp_path, "a", "key")
    assert first.resume() == ({}, 0.0)
    write(first, PERSON, NO_PERSON)
    second = Staging(tmp_path, "a", "key")
    assert second.resume() == ({3: PERSON, 4: NO_PERSON}, 1.5)


def test_a_torn_line_is_done_again(tmp_path: Path) -> None:
    first = Staging(tmp_path, "a", "key")
    first.resume()
    write(first, PERSON)
    with (first.folder / "journal.jsonl").open("a") as file:
        file.write('{"seconds": 2, "outc')
    second = Staging(tmp_path, "a", "key")
    assert list(second.resume()[0]) == [3]
    write(second, NO_PERSON)
    assert list(Staging(tmp_path, "a", "key").resume()[0]) == [3, 4]


def test_what_was_staged_under_another_key_is_removed(tmp_path: Path) -> None:
    first = Staging(tmp_path, "a", "fingerprint", "settings")
    first.resume()
    write(first, PERSON)
    assert Staging(tmp_path, "a", "fingerprint", "other settings").resume() == ({}, 0.0)
    assert not first.folder.exists()


def test_publish_moves_everything_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "Person" / "a").mkdir(parents=True)
    (tmp_path / "Person" / "a" / "stale_0.jpg").write_text("stale")
    staging = Staging(tmp_path, "a", "key")
    staging.resume()
    write(staging, PERSON, NO_PERSON)
    staging.publish(manifest.failed_archive_rows("a", "test"), {"archive": "a"})
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["No_Person/a/y.jpg", "Person/a/x_0.jpg", "manifests/a.csv", "manifests/a.json"]
    assert not (tmp_path / ".staging").exists()


def test_leftovers_of_a_killed_worker_are_removed_and_losses_noticed(tmp_path: Path) -> None:
    staging = Staging(tmp_path, "a", "key")
    staging.resume()
    write(staging, PERSON)
    leftover = staging.folder / "Person/a/killed_0.jpg"
    leftover.write_text("half")
    staging.check_files(PERSON.files())
    assert not leftover.exists()
    (staging.folder / "Person/a/x_0.jpg").unlink()
    with pytest.raises(ZipcropError, match="1 results of a are missing"):
        staging.check_files(PERSON.files())
