"""Official weights, from a proxy that answers in the name of the server that they come from."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from helpers.project import WEIGHTS

if TYPE_CHECKING:
    from helpers.workflow import Workflow


class Server:
    """Answers every request with `body`, over TLS in the name of any host that it is asked to connect to."""

    def __init__(self, folder: Path, body: bytes) -> None:
        self.hosts: list[str] = []
        self._body = body
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.env = {
            "HTTPS_PROXY": f"http://127.0.0.1:{self._socket.getsockname()[1]}",
            "REQUESTS_CA_BUNDLE": str(folder / "ca.pem"),
            "NO_PROXY": "",
        }

    def serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _answer(self, connection: socket.socket) -> None:
        host = connection.recv(65536).split()[1].decode().split(":")[0]
        self.hosts.append(host)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(host).configure_cert(context)
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(65536)
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(self._body)}\r\nConnection: close\r\n\r\n"
            secure.sendall(head.encode() + self._body)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, WEIGHTS.read_bytes())
    threading.Thread(target=server.serve, daemon=True).start()
    yield server
    server.close()


def test_official_weights_are_fetched_once_and_everything_is_done_with_them(workflow: Workflow, server: Server) -> None:
    # With another setting, too: outdated results must be noticed although the weights were not there at first.
    config = ["model=yolov8s.pt", "confidence=0.5"]
    result = workflow.run(config=config, env=server.env)
    assert result.returncode == 0, result.stdout
    assert (workflow.folder / "models/yolov8s.pt").read_bytes() == WEIGHTS.read_bytes()
    assert result.stdout.count("rule crop_archive:") == 2
    # No other host is asked.
    assert server.hosts == ["github.com"]
    assert workflow.jobs(config=config) == {}
    assert server.hosts == ["github.com"]


def test_a_download_that_is_no_model_is_not_kept(workflow: Workflow, server: Server) -> None:
    server._body = b"<html>" + bytes(200_000)
    result = workflow.run(config=["model=yolov8s.pt"], env=server.env)
    assert result.returncode == 1
    assert "yolov8s.pt cannot be loaded: the file is damaged" in result.stdout
    assert not list((workflow.folder / "models").glob("*.pt"))


def test_without_a_network_one_sentence_says_where_to_put_the_file(workflow: Workflow) -> None:
    result = workflow.run(config=["model=yolov8s.pt"], env={"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""})
    assert result.returncode == 1
    (sentence,) = (line for line in result.stdout.splitlines() if line.startswith("zipcrop: error:"))
    assert "yolov8s.pt could not be downloaded" in sentence
    assert "put the weights at models/yolov8s.pt yourself" in sentence
    # Everything that was there is still there.
    assert len(workflow.summary()) == 2
