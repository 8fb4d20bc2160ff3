from __future__ import annotations

import array

from zipcrop.process.watchdog import Board, Watchdog


def test_a_member_hangs_once_it_has_been_there_for_the_whole_time() -> None:
    cells = array.array("q", [0] * 4)
    board, watchdog = Board(cells), Watchdog(cells, 3, 10)
    with board.member(0), board.member(7):
        for _ in range(3):
            watchdog.look(1)
        assert watchdog.hanging() == set()
        with board.member(9):
            watchdog.look(1)
            assert watchdog.hanging() == {0, 7, 9}
    watchdog.look(1)
    assert watchdog.hanging() == set()
    assert set(cells) == {0}


def test_the_longest_time_at_a_member_is_known_up_to_the_limit() -> None:
    cells = array.array("q", [0] * 4)
    board, watchdog = Board(cells), Watchdog(cells, 3, 10)
    assert watchdog.longest() == 0
    with board.inference(), board.member(7):
        found = []
        for _ in range(5):
            watchdog.look(1)
            found.append(watchdog.longest())
    assert found == [0, 1, 2, 3, 3]
    watchdog.look(1)
    assert watchdog.longest() == 0


def test_one_member_after_the_other_does_not_hang() -> None:
    cells = array.array("q", [0] * 4)
    board, watchdog = Board(cells), Watchdog(cells, 3, 3)
    for index in range(20):
        with board.member(index), board.inference():
            watchdog.look(2)
            assert watchdog.hanging() == set()
            assert not watchdog.inference_hangs()


def test_an_inference_has_its_own_limit() -> None:
    cells = array.array("q", [0] * 4)
    board, watchdog = Board(cells), Watchdog(cells, 3, 10)
    with board.inference():
        for _ in range(10):
            watchdog.look(1)
        assert watchdog.hanging() == set()
        assert not watchdog.inference_hangs()
        watchdog.look(1)
        assert watchdog.inference_hangs()
