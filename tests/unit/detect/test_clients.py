"""Tests of `zipcrop.detect.clients`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from zipcrop.detect import protocol
from zipcrop.detect.clients import Clients


class LateLock:
    """A lock that is had only after another thread had it, and has done `meanwhile`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.meanwhile: Callable[[], object] | None = None

    def __enter__(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.mark.parametrize("news", [protocol.Ready("GPU-1234"), protocol.Fault("the weights are damaged")])
def test_a_client_that_introduces_itself_just_when_there_is_news_gets_it_once(
    news: protocol.Ready | protocol.Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = LateLock()
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Lock", lambda: lock)
        connected = Clients()
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        client = connected.add(here)
        lock.meanwhile = lambda: connected.tell(news)
        connected.welcome(client)
        assert protocol.receive(there) == news
        connected.remove(client)
        assert protocol.receive(there) is None
