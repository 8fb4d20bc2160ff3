"""The budget of bytes."""

from __future__ import annotations

import threading

import pytest

from zipcrop.process.budget import ByteBudget


def test_a_taker_waits_until_enough_is_given_back() -> None:
    budget = ByteBudget(100)
    budget.acquire(60)
    got = threading.Event()

    def take() -> None:
        budget.acquire(50)
        got.set()

    threading.Thread(target=take).start()
    assert not got.wait(0.05)
    budget.release(60)
    assert got.wait(10)


def test_bytes_that_are_held_are_given_back_also_after_an_error() -> None:
    budget = ByteBudget(100)
    with pytest.raises(ValueError, match="on purpose"), budget.hold(60):
        raise ValueError("on purpose")
    with budget.hold(100):
        pass


def test_bytes_may_be_kept_beyond_the_block() -> None:
    budget = ByteBudget(100)
    with budget.hold(90, kept=60):
        pass
    with pytest.raises(ValueError, match="on purpose"), budget.hold(40, kept=40):
        raise ValueError("on purpose")
    budget.acquire(40)
    budget.release(100)
    budget.acquire(100)


def test_more_than_everything_is_given_to_a_thread_that_is_alone() -> None:
    budget = ByteBudget(100)
    budget.acquire(500)
    budget.release(500)
    budget.acquire(100)
