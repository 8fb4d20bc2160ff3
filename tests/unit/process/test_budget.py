from __future__ import annotations

import threading

from zipcrop.process.budget import ByteBudget


def test_a_taker_waits_until_enough_is_given_back() -> None:
    budget = ByteBudget(100)
    budget.acquire(60)
    got = threading.Event()
    taker = threading.Thread(target=lambda: (budget.acquire(50), got.set()))
    taker.start()
    assert not got.wait(0.05)
    budget.release(60)
    assert got.wait(10)


def test_more_than_everything_is_given_to_who_is_alone() -> None:
    budget = ByteBudget(100)
    budget.acquire(500)
    budget.release(500)
    budget.acquire(100)
