"""Jobs in which one call to the system fails, or the job is killed at it, for every call; and plain jobs after them.

The calls are spread over several tests: each takes every second, or every fourth, until there are no more. To be killed
before a call is to be killed after the one before it, unless the call is a write, half of which is then done.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty import Bench, Ended, Fault

from helpers.output import results, staged

pytestmark = pytest.mark.slow

SETTINGS = {"confidence": 0.6}
# More crops, and others of the same names.
OTHER_SETTINGS = {"confidence": 0.25, "crop.padding": 0.1}
ERRORS = (errno.ENOSPC, errno.EIO)

Check = Callable[[str, str, int, int], None]


@pytest.fixture(scope="session")
def whole(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The results of an undisturbed job."""
    return _undisturbed(bench, tmp_path_factory.mktemp("whole"), SETTINGS)


@pytest.fixture(scope="session")
def others(bench: Bench, whole: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose output has the results of other settings."""
    folder = tmp_path_factory.mktemp("others")
    found = _undisturbed(bench, folder, OTHER_SETTINGS)
    assert len(found) > len(whole)
    assert all(found[name] != data for name, data in whole.items() if not name.startswith("No_Person/"))
    return folder


def _undisturbed(bench: Bench, folder: Path, settings: dict[str, Any]) -> dict[str, bytes]:
    ended = bench.crop(folder, settings)
    assert ended.status == 0, ended.said
    found = results(folder / "output")
    statuses = {line.split(",")[5] for line in found["manifests/photos.csv"].decode().splitlines()[1:]}
    assert statuses == {"person", "no_person", "failed", "skipped"}
    assert staged(folder / "output") == {}
    return found


@pytest.fixture(params=["nothing", "results of other settings"])
def before(request: pytest.FixtureRequest) -> str:
    """The content of the output before the job."""
    return str(request.param)


@pytest.fixture
def check(bench: Bench, whole: dict[str, bytes], others: Path, before: str, tmp_path: Path) -> Check:
    """Disturbs the calls `block`, `block + blocks`, and so on, each in a job of its own; fails if any of these jobs, or
    the plain one after it, does not end as it should."""

    def check(calls: str, how: str, block: int, blocks: int) -> None:
        problems = []
        at = block
        while True:
            folder = tmp_path / f"{calls}-{at}"
            if before == "nothing":
                folder.mkdir()
            else:
                shutil.copytree(others, folder)
            ended = bench.crop(folder, SETTINGS, Fault(calls, how, at))
            if not ended.struck:
                break
            try:
                old = others / "output" if before != "nothing" else None
                _check_disturbed(ended, calls, how, folder / "output", old)
                if ended.status != 0 or staged(folder / "output"):  # else a run would find nothing to do
                    _check_rerun(bench.crop(folder, SETTINGS), folder / "output")
            except AssertionError as problem:
                problems.append(f"{at}. {ended.struck}: {problem}")
            shutil.rmtree(folder)
            at += blocks
        wrong = "a job that is only counted goes wrong"
        assert ended.status == 0, wrong
        assert results(folder / "output") == whole, wrong
        disturbed = (at - block) // blocks
        assert disturbed, f"only {ended.calls} calls"
        assert not problems, "\n".join([f"{len(problems)} of {disturbed}, of {ended.calls} calls:", *problems])

    def _check_disturbed(ended: Ended, calls: str, how: str, output: Path, old: Path | None) -> None:
        assert ended.status is not None, f"it hangs: {ended.said}"
        if how.startswith("killed"):
            assert ended.status == -signal.SIGKILL, ended.said
            left = results(output)
            if old is None and "manifests/photos.csv" in left:
                assert _differences(left, whole) == [], "there is a manifest, but not all results"
        elif ended.status == 0:
            assert _differences(results(output), whole) == [], "ends as if all were well, but leaves other results"
        else:
            sentence = ended.sentence()
            if calls == "changes":
                assert os.strerror(int(how)) in sentence, sentence
            wrong = _differences(results(output, records=True), results(old, records=True) if old else {})
            assert wrong == [], "fails, and what was published before is not as it was"

    def _check_rerun(ended: Ended, output: Path) -> None:
        assert ended.status == 0, f"the job after it fails: {ended.said}"
        assert _differences(results(output), whole) == [], "the job after it leaves other results"
        assert staged(output) == {}, "the job after it leaves something staged"

    return check


def _differences(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """The paths that are missing, new or different."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


@pytest.mark.parametrize("block", range(1, 5))
@pytest.mark.parametrize("number", ERRORS, ids=lambda number: errno.errorcode[number])
def test_a_change_that_fails(number: int, block: int, check: Check) -> None:
    check("changes", str(number), block, 4)


@pytest.mark.parametrize("block", range(1, 5))
def test_killed_after_a_change(block: int, check: Check) -> None:
    check("changes", "killed-after", block, 4)


def test_killed_in_the_middle_of_a_write(check: Check) -> None:
    check("writes", "killed-before", 1, 1)


def test_a_write_that_is_cut_short(check: Check) -> None:
    """This is no fault: the writer has to write the rest."""
    check("writes", "short", 1, 1)


@pytest.mark.parametrize("block", range(1, 3))
@pytest.mark.parametrize("how", [str(errno.EIO), "short", "empty", "zeros"])
@pytest.mark.parametrize("before", ["results of other settings"], indirect=True)
def test_a_read_of_the_archive(how: str, block: int, check: Check) -> None:
    check("reads", how, block, 2)
