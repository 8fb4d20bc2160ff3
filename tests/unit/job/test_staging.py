from __future__ import annotations

import errno
import itertools
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.output import files_below
from zipcrop import files
from zipcrop.errors import MachineError, ZipcropError
from zipcrop.files import remove_with_empty_parents
from zipcrop.job import staged
from zipcrop.job.journal import Journal
from zipcrop.job.staged import force, forced, has_leftovers, sweep
from zipcrop.job.staging import Staging
from zipcrop.results import manifest, soundness
from zipcrop.results.manifest import Content, Outcome, Person

PERSON = Outcome(
    3,
    "person",
    "",
    9,
    8,
    (Person((1.0, 2.5, 3.0, 4.0), 0.5, "Person/a/x_0.jpg"),),
    contents=(Content.of(b"Person/a/x_0.jpg"),),
)
NO_PERSON = Outcome(
    4,
    "no_person",
    "",
    9,
    8,
    (Person((0.0, 0.0, 2.0, 3.0), 0.1),),
    "No_Person/a/y.jpg",
    (Content.of(b"No_Person/a/y.jpg"),),
)
BOTH = (PERSON, NO_PERSON)
ROWS = manifest.failed_archive_rows("a", "test")


def write(staging: Staging, *outcomes: Outcome) -> None:
    for outcome in outcomes:
        for file in outcome.files():
            files.create(staging.folder / file, file.encode())
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
        staging.publish(ROWS, BOTH, {"archive": "a"})
    return staging


RESULTS = ["No_Person/a/y.jpg", "Person/a/x_0.jpg", "manifests/a.csv", "manifests/a.json", "manifests/a.sha256"]


def test_publish_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "Person" / "a").mkdir(parents=True)
    (tmp_path / "Person" / "a" / "stale_0.jpg").write_text("stale")
    published(tmp_path)
    assert sorted(held(tmp_path)) == RESULTS


def publish_of_before(output: Path) -> dict[str, bytes]:
    """Publishes results of other settings and returns their content."""
    other = replace(NO_PERSON, file="No_Person/a/old.jpg", contents=(Content.of(b"No_Person/a/old.jpg"),))
    with Staging(output, "a", "another key") as staging:
        staging.resume()
        write(staging, other)
        staging.publish(ROWS, [other], {"archive": "a", "made": "before"})
    return held(output)


def held(output: Path) -> dict[str, bytes]:
    """All files, but for staged ones."""
    return {file: data for file, data in files_below(output).items() if not file.startswith(".staging/")}


def test_publishing_leaves_nothing_staged(tmp_path: Path) -> None:
    published(tmp_path)
    assert not (tmp_path / ".staging").exists()
    with Staging(tmp_path, "a", "key") as staging:
        assert staging.resume() == ({}, 0.0)


def test_digests_are_those_of_sha256sum(tmp_path: Path) -> None:
    published(tmp_path)
    command = ["sha256sum", "--check", "--strict", "manifests/a.sha256"]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert len(checked.stdout.splitlines()) == 3


def failing_at(number: int, error: BaseException) -> Callable[[Path, Path], Path]:
    """`Path.replace`, but call number `number`, from 0, raises `error`."""
    calls = itertools.count()
    original = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if next(calls) == number:
            raise error
        return original(self, target)

    return replace


# The old and the new one of manifest, record, digests and two folders.
MOVES = 10


@pytest.mark.parametrize("moves", range(MOVES))
def test_a_fault_while_publishing_leaves_what_was_there(
    moves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = publish_of_before(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing_at(moves, OSError(errno.ENOSPC, "full")))
        with pytest.raises(OSError, match="full"):
            published(tmp_path)
    assert held(tmp_path) == before
    with Staging(tmp_path, "a", "key") as staging:
        assert staging.is_ready()
        staging.put_in_place()
    assert sorted(held(tmp_path)) == RESULTS
    assert not (tmp_path / ".staging").exists()


def killed_after(moves: int, output: Path) -> None:
    """A job that publishes has been killed after as many renames."""
    child = os.fork()
    if not child:
        calls = itertools.count()
        original = Path.replace

        def replace(self: Path, target: Path) -> Path:
            if next(calls) == moves:
                os._exit(9)  # nothing is undone
            return original(self, target)

        pytest.MonkeyPatch().setattr(Path, "replace", replace)
        published(output)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("moves", range(MOVES))
def test_a_kill_while_publishing_costs_nothing(moves: int, tmp_path: Path) -> None:
    publish_of_before(tmp_path)
    killed_after(moves, tmp_path)
    # An archive that has a manifest has all of its results.
    assert (tmp_path / "manifests" / "a.csv").exists() == (moves == 0)
    with Staging(tmp_path, "a", "key") as staging:
        assert staging.is_ready()
        staging.put_in_place()
    assert sorted(held(tmp_path)) == RESULTS
    assert "before" not in (tmp_path / "manifests" / "a.json").read_text()
    assert not (tmp_path / ".staging").exists()


@pytest.mark.parametrize("moves", range(1, MOVES))
def test_what_a_kill_left_half_in_place_is_whole_before_anything_else(moves: int, tmp_path: Path) -> None:
    before = publish_of_before(tmp_path)
    killed_after(moves, tmp_path)
    with Staging(tmp_path, "a", "yet another key"):
        pass
    found = held(tmp_path)
    new = sorted(RESULTS)
    assert sorted(found) == new or found == before
    assert not (tmp_path / ".staging").exists()


def test_forcing_begins_anew(tmp_path: Path) -> None:
    with Staging(tmp_path, "a", "key") as staging:
        staging.resume()
        write(staging, PERSON)
    force(tmp_path, "a")
    with Staging(tmp_path, "a", "key") as staging:
        assert staging.resume() == ({}, 0.0)
        write(staging, PERSON)
    # A forced job carries on from what it has done.
    with Staging(tmp_path, "a", "key") as staging:
        assert staging.is_forced()
        assert list(staging.resume()[0]) == [3]


def test_a_forced_archive_is_forced_until_it_is_published(tmp_path: Path) -> None:
    force(tmp_path, "a")
    with Staging(tmp_path, "a", "key") as staging:
        assert staging.is_forced()
        staging.resume()
    sweep(tmp_path, live=["a"])
    assert forced(tmp_path, ["a", "b"]) == {"a"}
    published(tmp_path)
    assert forced(tmp_path, ["a", "b"]) == set()
    assert not (tmp_path / ".staging").exists()


def killed_before_it_removed_what_was_staged(output: Path) -> None:
    """Publishes results, but leaves their staging folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staged, "remove", lambda folder: None)
        published(output)


def test_sweeping_removes_what_is_published_and_what_nobody_will_finish(tmp_path: Path) -> None:
    killed_before_it_removed_what_was_staged(tmp_path)
    assert has_leftovers(tmp_path)
    for archive in ("deep/unfinished", "deep/gone"):
        with Staging(tmp_path, archive, "key") as staging:
            staging.resume()
    sweep(tmp_path)
    folders = sorted(path.parent.name for path in (tmp_path / ".staging").rglob("lock"))
    assert folders == ["gone", "unfinished"]
    sweep(tmp_path, live=["a", "deep/unfinished"])
    assert (tmp_path / ".staging/deep/unfinished").exists()
    assert not (tmp_path / ".staging/deep/gone").exists()
    sweep(tmp_path, live=[])
    assert not (tmp_path / ".staging").exists()
    assert sorted(held(tmp_path)) == RESULTS


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


@pytest.mark.parametrize("removals", range(9))
def test_the_next_run_sees_what_a_kill_while_sweeping_left(
    removals: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_before_it_removed_what_was_staged(tmp_path)
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
    left_over = [path for path in (tmp_path / ".staging").rglob("*") if path.is_file()]
    assert has_leftovers(tmp_path) == bool(left_over)
    sweep(tmp_path)
    assert not has_leftovers(tmp_path)
    assert not list((tmp_path / ".staging").rglob("lock"))
    assert sorted(held(tmp_path)) == RESULTS


def test_leftovers_of_a_killed_worker_are_removed_and_losses_noticed(tmp_path: Path) -> None:
    with Staging(tmp_path, "a", "key") as staging:
        staging.resume()
        write(staging, PERSON)
        leftover = staging.folder / "Person/a/killed_0.jpg"
        leftover.write_text("half")
        staging.check_files([PERSON])
        assert not leftover.exists()
        (staging.folder / "Person/a/x_0.jpg").unlink()
        with pytest.raises(ZipcropError, match="1 results of a are missing"):
            staging.check_files([PERSON])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def fill_with_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [Path.unlink, empty, cut])
def test_what_lost_its_files_in_a_power_cut_is_done_again(damage: Callable[[Path], object], tmp_path: Path) -> None:
    with Staging(tmp_path, "a", "key") as staging:
        staging.resume()
        write(staging, PERSON, NO_PERSON)
        damage(staging.folder / "Person/a/x_0.jpg")
    with Staging(tmp_path, "a", "key") as staging:
        assert list(staging.resume()[0]) == [4]


def test_after_a_start_of_the_system_lengths_prove_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Staging(tmp_path, "a", "key") as staging:
        staging.resume()
        write(staging, PERSON, NO_PERSON)
        fill_with_zeros(staging.folder / "Person/a/x_0.jpg")
    monkeypatch.setattr(soundness, "boot", lambda: "another one")
    with Staging(tmp_path, "a", "key") as staging:
        assert list(staging.resume()[0]) == [4]


PLANTED = ["lock", "reserve", "{key}/journal.jsonl", "{key}/ready", "{key}/Person/a/x_0.jpg", "{key}/manifest.csv"]


@pytest.mark.parametrize("kind", ["link", "dangling link", "second name", "pipe"])
@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_planted_among_the_staged_files_harms_nothing_else(kind: str, planted: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with Staging(output, "a", "key") as staging:
        key = staging.folder
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = key.parent / planted.format(key=key.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "new")
    elif kind == "second name":
        path.hardlink_to(victim)
    else:
        os.mkfifo(path)
    published(output)
    assert victim.read_text() == "precious"
    assert not (tmp_path / "new").exists()
    assert sorted(held(output)) == RESULTS


@pytest.mark.parametrize("planted", [".staging", ".staging/a", "Person", "No_Person/a", "manifests"])
def test_a_folder_that_leads_out_of_the_output_is_refused(planted: str, tmp_path: Path) -> None:
    output, elsewhere = tmp_path / "output", tmp_path / "elsewhere"
    (elsewhere / "a").mkdir(parents=True)
    (elsewhere / "a" / "victim").write_text("precious")
    (output / planted).parent.mkdir(parents=True)
    (output / planted).symlink_to(elsewhere)
    with pytest.raises(MachineError, match=r"leads out of .*output, by its name or by a link"):
        published(output)
    assert [path.relative_to(elsewhere).as_posix() for path in elsewhere.rglob("*")] == ["a", "a/victim"]


def test_of_a_link_that_is_removed_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    for name, target in (("folder", "elsewhere"), ("file", "elsewhere/file"), ("nothing", "gone")):
        link = tmp_path / "root" / "deep" / name
        link.parent.mkdir(parents=True)
        link.symlink_to(tmp_path / target)
        remove_with_empty_parents(link, tmp_path / "root")
        assert list((tmp_path / "root").iterdir()) == []
    assert (tmp_path / "elsewhere" / "file").exists()


def test_a_disk_that_stays_full_keeps_neither_reserve_nor_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really_close = Journal.close

    def close(journal: Journal) -> None:
        really_close(journal)
        raise OSError(errno.ENOSPC, "full, when what is left is flushed")

    def work() -> None:
        with Staging(tmp_path, "a", "key") as staging:
            staging.resume()
            raise OSError(errno.ENOSPC, "full at first")

    monkeypatch.setattr(Journal, "close", close)
    with pytest.raises(OSError, match="full at first"):
        work()
    assert not list(tmp_path.rglob("reserve"))
    with Staging(tmp_path, "a", "key"):
        pass
