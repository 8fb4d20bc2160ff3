from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from zipcrop import manifest
from zipcrop import staging as staging_module
from zipcrop.errors import MachineError, ZipcropError
from zipcrop.manifest import Outcome, Person
from zipcrop.staging import Staging, has_leftovers, sweep

PERSON = Outcome(3, "person", "", 9, 8, (Person((1.0, 2.5, 3.0, 4.0), 0.5, "Person/a/x_0.jpg"),))
NO_PERSON = Outcome(4, "no_person", "", 9, 8, (Person((0.0, 0.0, 2.0, 3.0), 0.1),), "No_Person/a/y.jpg")


def write(staging: Staging, *outcomes: Outcome) -> None:
    for outcome in outcomes:
        for file in outcome.files():
            (staging.folder / file).write_text(file)
        staging.record(outcome, 1.5)


def test_an_interrupted_job_finds_what_is_done(tmp_path: Path) -> None:
    with Staging(tmp_path, "a", "key") as first:
        assert first.resume() == ({}, 0.0)
        write(first, PERSON, NO_PERSON)
    with Staging(tmp_path, "a", "key") as second:
        assert second.resume() == ({3: PERSON, 4: NO_PERSON}, 1.5)


@pytest.mark.parametrize("torn", [b'{"seconds": 2, "outc', b"\0\0\0\0\n", b'{"seconds": 2, "outcome": {}}'])
def test_a_torn_line_is_done_again(torn: bytes, tmp_path: Path) -> None:
    with Staging(tmp_path, "a", "key") as first:
        first.resume()
        write(first, PERSON)
        with (first.folder / "journal.jsonl").open("ab") as file:
            file.write(torn)
    with Staging(tmp_path, "a", "key") as second:
        assert list(second.resume()[0]) == [3]
        write(second, NO_PERSON)
    with Staging(tmp_path, "a", "key") as third:
        assert list(third.resume()[0]) == [3, 4]


def test_what_is_to_be_tried_again_is_not_noted(tmp_path: Path) -> None:
    """It may have been the machine that was at fault."""
    with Staging(tmp_path, "a", "key") as first:
        first.resume()
        write(
            first, PERSON, Outcome(5, "failed", "is damaged: Bad CRC-32", again=True), Outcome(6, "failed", "no JPEG")
        )
    with Staging(tmp_path, "a", "key") as second:
        assert sorted(second.resume()[0]) == [3, 6]


def test_what_was_staged_under_another_key_is_removed(tmp_path: Path) -> None:
    with Staging(tmp_path, "a", "fingerprint", "settings") as first:
        first.resume()
        write(first, PERSON)
    with Staging(tmp_path, "a", "fingerprint", "other settings") as second:
        assert second.resume() == ({}, 0.0)
    assert not first.folder.exists()


def test_two_jobs_never_work_on_one_archive(tmp_path: Path) -> None:
    with Staging(tmp_path, "a", "key") as first:
        first.resume()
        write(first, PERSON)
        with pytest.raises(MachineError, match=f"another job \\(process {os.getpid()} on .*\\) is at work on a in "):
            Staging(tmp_path, "a", "other key")
        sweep(tmp_path, live=[])
        assert first.folder.exists()
        with Staging(tmp_path, "b", "key"):
            pass


def published(tmp_path: Path) -> Staging:
    with Staging(tmp_path, "a", "key") as staging:
        staging.resume()
        write(staging, PERSON, NO_PERSON)
        staging.publish(manifest.failed_archive_rows("a", "test"), {"archive": "a"})
    return staging


def results(output: Path) -> list[str]:
    files = (path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file())
    return sorted(file for file in files if not file.startswith(".staging/"))


RESULTS = ["No_Person/a/y.jpg", "Person/a/x_0.jpg", "manifests/a.csv", "manifests/a.json"]


def test_publish_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "Person" / "a").mkdir(parents=True)
    (tmp_path / "Person" / "a" / "stale_0.jpg").write_text("stale")
    published(tmp_path)
    assert results(tmp_path) == RESULTS


@pytest.mark.parametrize("deleted", [("Person", "No_Person", "manifests"), ("Person",), ()])
def test_results_that_snakemake_deletes_unconfirmed_are_published_again(
    deleted: tuple[str, ...], tmp_path: Path
) -> None:
    published(tmp_path)
    for folder in deleted:
        shutil.rmtree(tmp_path / folder)
    with Staging(tmp_path, "a", "key") as staging:
        assert list(staging.resume()[0]) == [3, 4]
        staging.check_files([*PERSON.files(), *NO_PERSON.files()])
        staging.publish(manifest.failed_archive_rows("a", "test"), {"archive": "a"})
    assert results(tmp_path) == RESULTS


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moves", range(4))
def test_a_kill_while_publishing_costs_nothing(moves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def move(source: Path, target: Path, original: Callable[[Path, Path], None] = staging_module._move) -> None:
        if len(done) == moves:
            raise Killed
        done.append(original(source, target))

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(staging_module, "_move", move)
        published(tmp_path)
    assert not (tmp_path / "manifests" / "a.csv").exists()
    with Staging(tmp_path, "a", "key") as staging:
        assert list(staging.resume()[0]) == [3, 4]
        staging.check_files([*PERSON.files(), *NO_PERSON.files()])
        staging.publish(manifest.failed_archive_rows("a", "test"), {"archive": "a"})
    assert results(tmp_path) == RESULTS


def test_results_are_moved_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    published(tmp_path)
    assert results(tmp_path) == RESULTS
    with Staging(tmp_path, "a", "key") as staging:
        assert staging.resume() == ({}, 0.0)


def test_sweeping_removes_what_is_published_and_what_nobody_will_finish(tmp_path: Path) -> None:
    published(tmp_path)
    for archive in ("deep/unfinished", "deep/gone"):
        with Staging(tmp_path, archive, "key") as staging:
            staging.resume()
    sweep(tmp_path)
    folders = sorted(path.parent.name for path in (tmp_path / ".staging").rglob("lock"))
    assert folders == ["gone", "unfinished"]
    sweep(tmp_path, live=["a", "deep/unfinished"])
    assert (tmp_path / ".staging/deep/unfinished").exists() and not (tmp_path / ".staging/deep/gone").exists()
    sweep(tmp_path, live=[])
    assert not (tmp_path / ".staging").exists()
    assert results(tmp_path) == RESULTS


def test_an_archive_that_became_a_folder_of_archives(tmp_path: Path) -> None:
    for archive in ("a", "a/b"):
        with Staging(tmp_path, archive, "key") as staging:
            staging.resume()
            write(staging, replace(PERSON, persons=()))
    sweep(tmp_path, live=["a/b"])
    assert [path.parent.name for path in (tmp_path / ".staging").rglob("lock")] == ["b"]
    with Staging(tmp_path, "a/b", "key") as staging:
        assert len(staging.resume()[0]) == 1
        with Staging(tmp_path, "a", "other key"):
            pass
    sweep(tmp_path, live=["a"])
    assert not list((tmp_path / ".staging").rglob("lock"))


@pytest.mark.parametrize("removals", range(12))
def test_the_next_run_sees_what_a_kill_while_sweeping_left(
    removals: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(tmp_path)
    left = removals

    def until_killed(remove: Callable[..., None]) -> Callable[..., None]:
        def removing(*arguments: Any, **options: Any) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            remove(*arguments, **options)

        return removing

    with monkeypatch.context() as context:
        for name in ("unlink", "rmdir"):
            context.setattr(os, name, until_killed(getattr(os, name)))
        with pytest.raises(KeyboardInterrupt):
            sweep(tmp_path)
    staged = [path for path in (tmp_path / ".staging").rglob("*") if path.is_file()]
    assert has_leftovers(tmp_path) == bool(staged)
    sweep(tmp_path)
    assert not has_leftovers(tmp_path) and not list((tmp_path / ".staging").rglob("lock"))
    assert results(tmp_path) == RESULTS


def test_leftovers_of_a_killed_worker_are_removed_and_losses_noticed(tmp_path: Path) -> None:
    with Staging(tmp_path, "a", "key") as staging:
        staging.resume()
        write(staging, PERSON)
        leftover = staging.folder / "Person/a/killed_0.jpg"
        leftover.write_text("half")
        staging.check_files(PERSON.files())
        assert not leftover.exists()
        (staging.folder / "Person/a/x_0.jpg").unlink()
        with pytest.raises(ZipcropError, match="1 results of a are missing"):
            staging.check_files(PERSON.files())


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_what_lost_its_files_in_a_power_cut_is_done_again(damage: Callable[[Path], object], tmp_path: Path) -> None:
    with Staging(tmp_path, "a", "key") as staging:
        staging.resume()
        write(staging, PERSON, NO_PERSON)
        damage(staging.folder / "Person/a/x_0.jpg")
    with Staging(tmp_path, "a", "key") as staging:
        assert list(staging.resume()[0]) == [4]
