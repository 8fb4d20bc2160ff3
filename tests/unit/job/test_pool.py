"""The pool with workers that do no work but die in every way; real workers are in tests/badinput/test_crashes.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_worker import NAMES, FakeTask, fake_worker

from helpers.job import replace_workers
from zipcrop.detect.lease import Address, Spec
from zipcrop.errors import EngineError, EngineGone, EngineHangs, GPUUnusable, MachineError
from zipcrop.job import pool
from zipcrop.process.gpu import GPU
from zipcrop.process.overtime import Overtime

if TYPE_CHECKING:
    from zipcrop.results.manifest import Outcome


@pytest.fixture(autouse=True)
def fake_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_workers(monkeypatch, fake_worker)


def run(task: FakeTask, members: int, workers: int, addresses: Sequence[Address] = ()) -> list[Outcome]:
    return list(pool.Pool(task, NAMES, workers, addresses).run(range(members)))  # type: ignore[arg-type]


def address(name: str) -> Address:
    return Address(GPU(name, name), Path("socket"), Path("log"), Spec(Path("model.json"), "", 320, 32, 16))


@pytest.mark.parametrize("workers", [1, 3])
def test_every_member_has_one_outcome(workers: int) -> None:
    assert sorted(outcome.index for outcome in run(FakeTask(), 100, workers)) == list(range(100))


def test_workers_share_the_members() -> None:
    assert len({outcome.reason for outcome in run(FakeTask(), 200, 2)}) == 2


def test_workers_spread_over_the_gpus() -> None:
    outcomes = run(FakeTask(), 200, 4, [address("2"), address("GPU-x")])
    assert {outcome.reason for outcome in outcomes} == {"2", "GPU-x"}


def test_a_worker_that_dies_is_replaced_on_its_gpu() -> None:
    outcomes = run(FakeTask(deadly=frozenset({0})), 200, 2, [address("0"), address("1")])
    assert [outcome.index for outcome in outcomes if outcome.status == "failed"] == [0]
    assert {"0", "1"} <= {outcome.reason for outcome in outcomes[100:]}


def test_nothing_to_do_starts_nothing() -> None:
    assert run(FakeTask(dead_at_start=True), 0, 2) == []


@pytest.mark.parametrize("deadly", [{0}, {99}, {17, 18, 60}])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_deadly_member_is_found_and_the_others_are_done(deadly: set[int], workers: int) -> None:
    outcomes = run(FakeTask(frozenset(deadly)), 100, workers)
    assert sorted(outcome.index for outcome in outcomes) == list(range(100))
    failed = {outcome.index: outcome.reason for outcome in outcomes if outcome.status == "failed"}
    assert failed == dict.fromkeys(deadly, "the process that worked on it was killed by SIGSEGV")


@pytest.mark.parametrize("deadly", [{0}, {17, 18, 60}])
def test_a_member_that_kills_while_the_engine_loads_is_found(deadly: set[int]) -> None:
    outcomes = run(FakeTask(frozenset(deadly), deadly_while_loading=True), 100, 2)
    assert sorted(outcome.index for outcome in outcomes) == list(range(100))
    assert {outcome.index for outcome in outcomes if outcome.status == "failed"} == deadly


def test_a_worker_that_cannot_start_fails_the_job() -> None:
    with pytest.raises(MachineError, match=r"a worker process ended with exit status 3 .*see some.log"):
        run(FakeTask(dead_at_start=True), 10, 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_engine_that_crashes_when_it_is_used_fails_the_job_and_no_member(workers: int) -> None:
    with pytest.raises(MachineError, match=r"a worker process was killed by SIGILL while it loaded the engine"):
        run(FakeTask(broken_engine=True), 10, workers)


@pytest.mark.parametrize(("kind", "error"), [("fault", EngineError), ("gone", EngineGone), ("unusable", GPUUnusable)])
def test_a_fault_of_the_engine_process_is_told_apart_and_is_no_members(kind: str, error: type[Exception]) -> None:
    with pytest.raises(MachineError, match=r"^it is so$") as raised:
        run(FakeTask(fault="it is so", kind=kind), 10, 2, [address("0")])
    assert type(raised.value) is error


def test_a_fault_of_the_machine_fails_the_job_and_leaves_no_process() -> None:
    with pytest.raises(MachineError, match=r"^the disk is full$"):
        run(FakeTask(fault="the disk is full"), 10, 2)
    import multiprocessing

    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_member_that_hangs_is_given_up_and_the_others_are_done(workers: int) -> None:
    outcomes = run(FakeTask(hanging=frozenset({3, 40})), 50, workers)
    assert sorted(outcome.index for outcome in outcomes) == list(range(50))
    failed = {outcome.index: outcome.reason for outcome in outcomes if outcome.status == "failed"}
    assert failed == dict.fromkeys((3, 40), "was not decoded and written within 2 s (limits.seconds)")


@pytest.mark.parametrize("workers", [1, 2])
def test_time_at_what_declares_far_more_outlives_the_worker_that_hung_in_it(workers: int) -> None:
    task = FakeTask(hanging=frozenset({3, 40}), far_more=frozenset({40}))
    used = pool.Pool(task, NAMES, workers)  # type: ignore[arg-type]
    assert len(list(used.run(range(50)))) == 50
    assert Overtime(used._account, 0, 1).taken() == task.seconds


def test_an_engine_that_hangs_fails_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_INFERENCE_SECONDS", 2.0)
    only = address("0")
    with pytest.raises(EngineHangs, match="the engine has not answered for 2 s") as raised:
        run(FakeTask(stuck_engine=True), 10, 1, [only])
    assert raised.value.address is only


def test_a_member_that_needs_too_much_memory_is_found() -> None:
    outcomes = run(FakeTask(out_of_memory=frozenset({5})), 20, 2)
    assert sorted(outcome.index for outcome in outcomes) == list(range(20))
    failed = {outcome.index: outcome.reason for outcome in outcomes if outcome.status == "failed"}
    assert failed == {5: "the process that worked on it ran out of memory"}
    # Short memory is no property of the photo: a job that carries on tries it again.
    assert [outcome.again for outcome in outcomes if outcome.status == "failed"] == [True]


def test_a_member_that_somebody_keeps_killing_fails_the_job() -> None:
    said = r"member 5 of some\.zip, alone, was killed by SIGKILL, .*; see that there is memory enough"
    with pytest.raises(MachineError, match=said):
        run(FakeTask(killed=frozenset({5})), 20, 2)


@pytest.mark.parametrize("kind", ["deadly", "out_of_memory", "killed"])
def test_a_member_that_dies_for_a_while_only_is_done(kind: str, tmp_path: Path) -> None:
    # Together with others, or as one of them; and alone.
    task = FakeTask(**{kind: frozenset({5})}, tries=tmp_path / "tries", deaths=2)  # type: ignore[arg-type]
    outcomes = run(task, 20, 2)
    assert {outcome.index: outcome.status for outcome in outcomes} == dict.fromkeys(range(20), "skipped")


def test_of_very_many_that_crash_few_are_tried_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pool, "_MOST_CRASHES_TRIED_ALONE", 1)
    task = FakeTask(deadly=frozenset(range(4)), tries=tmp_path / "tries")
    outcomes = run(task, 4, 1)
    assert [outcome.again for outcome in outcomes if outcome.status == "failed"] == [False] * 4
    # By twos, and each by itself; one of them once more.
    assert (tmp_path / "tries").stat().st_size == 2 + 4 + 1
