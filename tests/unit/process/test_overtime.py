from __future__ import annotations

import array
import re
import threading
import time

import pytest

from zipcrop.process import overtime
from zipcrop.process.overtime import OutOfTime, Overtime


@pytest.fixture
def nothing_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overtime, "_FREE", 0.0)


def account(processes: int) -> array.array[float]:
    return array.array("d", bytes(8 * overtime.numbers(processes)))


@pytest.mark.parametrize(
    ("declared", "compressed", "far_more"),
    [
        (12_000_000, 3_000_000, False),
        (8_700_000, 35_000, False),  # a page by fax, zipped
        (8_700_000, 500, True),  # a blank one
        (100_000_000, 9_000, True),
        (0, 0, False),
        (1, 0, True),
    ],
)
def test_what_declares_far_more(declared: int, compressed: int, far_more: bool) -> None:
    assert overtime.is_far_more(declared, compressed) == far_more


def work() -> float:
    """Of this thread's time a bit; how much, at least."""
    started = time.thread_time()
    while time.thread_time() < started + 0.02:
        pass
    return 0.02


@pytest.mark.usefixtures("nothing_free")
def test_what_all_processes_spend_counts_for_each() -> None:
    shared = account(3)
    processes = [Overtime(shared, cell, 0.01) for cell in range(3)]
    for process in processes:
        process.check(far_more=True)
        with process.spent(far_more=True):
            least = work()
    assert processes[0].taken() == processes[2].taken() >= 3 * least
    said = (
        "is not decoded: it declares far more than its bytes hold, and all such members of an archive together may "
        "take 0.05 s (5 times limits.seconds)"
    )
    for process in processes:
        with pytest.raises(OutOfTime, match=f"^{re.escape(said)}$"):
            process.check(far_more=True)
        process.check(far_more=False)


@pytest.mark.usefixtures("nothing_free")
def test_other_photos_and_waiting_cost_nothing() -> None:
    process = Overtime(account(1), 0, 1)
    with process.spent(far_more=False):
        work()
    assert process.taken() == 0
    with process.spent(far_more=True):
        time.sleep(0.3)
    assert process.taken() < 0.2


@pytest.mark.usefixtures("nothing_free")
def test_what_fails_is_paid_for() -> None:
    process = Overtime(account(1), 0, 1)
    with pytest.raises(OutOfTime), process.spent(far_more=True):  # noqa: PT012 - the block is what is paid for
        least = work()
        raise OutOfTime
    assert process.taken() >= least


def test_threads_lose_nothing() -> None:
    shared = account(2)
    process = Overtime(shared, 1, 1)

    def spend() -> None:
        for _ in range(3000):
            process._note(1, at_work=1)
            process._note(0, at_work=-1)

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(shared) == [0, 12_000, 0, 0]


def test_a_process_that_dies_pays_for_what_it_was_at() -> None:
    shared = account(2)
    Overtime(shared, 0, 1)._note(3, at_work=1)
    Overtime(shared, 1, 1)._note(4, at_work=0)
    for cell in range(2):
        Overtime(shared, cell, 1).settle(10)
        Overtime(shared, cell, 1).settle(10)  # once is enough
    assert Overtime(shared, 0, 1).taken() == 17
    assert list(shared[2:]) == [0, 0]


def test_what_is_done_in_a_moment_is_free() -> None:
    process = Overtime(account(1), 0, 1)
    for _ in range(3):
        with process.spent(far_more=True):
            work()
    assert process.taken() == 0
