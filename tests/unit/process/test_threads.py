from __future__ import annotations

import queue

from zipcrop.process import threads


def test_threads_work_until_each_is_woken_up() -> None:
    todo: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[int] = queue.SimpleQueue()

    def work() -> None:
        while (number := todo.get()) is not None:
            done.put(number)

    started = threads.start(work, 3)
    for number in range(20):
        todo.put(number)
    threads.finish(started, lambda: todo.put(None))
    assert sorted(done.get() for _ in range(20)) == list(range(20))
    assert not any(thread.is_alive() for thread in started)
    threads.finish(threads.start(lambda: None, 2))
