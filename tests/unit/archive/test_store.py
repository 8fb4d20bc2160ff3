from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ResponseStreamingError

from helpers.store import PAGE, Store, without_credentials
from zipcrop.archive import catalog, source
from zipcrop.archive import store as object_store
from zipcrop.archive.source import RefusedZip
from zipcrop.archive.store import StoredObject, StoredZip
from zipcrop.errors import CatalogError, MachineError

BLOCK = object_store._BLOCK


def test_archives_below_a_folder_are_found(store: Store) -> None:
    names = ["a.zip", "b/images (1).ZIP", "b/é?#%.zip", "b/notes.txt", "images(10).zip", "images(9).zip"]
    for name in names:
        store.put("raw", f"my photos/{name}", name.encode())
    store.put("raw", "my photos of last year/c.zip", b"")
    found = catalog.find_archives("s3://raw/my photos/")
    assert list(found) == ["a", "b/images (1)", "b/é?#%", "images(9)", "images(10)"]
    assert found["b/images (1)"].location == "s3://raw/my photos/b/images (1).ZIP"
    assert found["b/é?#%"].size() == len("b/é?#%.zip".encode())
    assert len(catalog.find_archives("s3://raw")) == 6


def test_more_objects_than_a_listing_holds_are_found_with_few_requests(store: Store) -> None:
    for number in range(PAGE + 1):
        store.put("raw", f"{number}.zip", b"x")
    before = len(store.requests())
    found = catalog.find_archives("s3://raw")
    assert len({each.fingerprint() for each in found.values()}) == 1
    assert len(found) == PAGE + 1
    assert len(store.requests()) - before == 2


@pytest.mark.parametrize("key", ["../a.zip", "...zip", "x/...zip", "b//a.zip", "b/./a.zip", "a{b}.zip"])
def test_names_that_no_folder_could_have_are_refused(store: Store, key: str) -> None:
    store.put("raw", key, b"x")
    store.put("raw", "good.zip", b"x")
    found = catalog.find_archives("s3://raw")
    ((made_up, refused),) = ((archive, at) for archive, at in found.items() if archive != "good")
    assert isinstance(refused, RefusedZip)
    assert refused.refusal.endswith("rename it")
    assert refused.location == f"s3://raw/{key}"
    assert {"", ".", ".."}.isdisjoint(made_up.split("/"))


def test_the_fingerprint_is_of_the_content(store: Store) -> None:
    store.put("raw", "a.zip", b"one")
    listed = catalog.find_archives("s3://raw")["a"].fingerprint()
    store.put("raw", "a.zip", b"one")
    assert source.at("s3://raw/a.zip").fingerprint() == listed
    store.put("raw", "a.zip", b"two")
    assert source.at("s3://raw/a.zip").fingerprint() != listed
    with pytest.raises(MachineError, match=r"s3://raw/a.zip changed since the run began"):
        source.check_unchanged("s3://raw/a.zip", listed)


def test_bytes_are_read_anywhere_and_no_further_than_the_end(store: Store) -> None:
    data = os.urandom(2 * BLOCK + 1000)
    store.put("raw", "a.zip", data)
    reader = StoredZip("s3://raw/a.zip").open()
    assert reader.size == len(data)
    for offset, length in [(0, 10), (BLOCK - 5, 10), (10, 2 * BLOCK), (2 * BLOCK + 990, 100), (3 * BLOCK, 1), (7, 0)]:
        assert reader.read_at(length, offset) == data[offset : offset + length]


def test_many_threads_fetch_a_block_once(store: Store) -> None:
    data = os.urandom(BLOCK + 1)
    store.put("raw", "a.zip", data)
    reader = StoredZip("s3://raw/a.zip").open()
    before = len(store.requests())
    together = threading.Barrier(8)

    def read(number: int) -> bytes:
        together.wait()
        return reader.read_at(1000, number * 1000)

    with ThreadPoolExecutor(8) as pool:
        assert b"".join(pool.map(read, range(8))) == data[:8000]
    assert store.requests()[before:] == ["GET /raw/a.zip"]


def test_memory_does_not_grow_with_the_archive(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "_BLOCK", 1000)
    data = os.urandom(100_000)
    store.put("raw", "a.zip", data)
    reader = StoredZip("s3://raw/a.zip").open()
    assert b"".join(reader.read_at(500, at) for at in range(0, len(data), 500)) == data
    assert len(reader._blocks) == object_store._MOST_BLOCKS
    reader.close()
    assert not reader._blocks


def test_an_object_that_changes_while_it_is_read_is_noticed(store: Store) -> None:
    store.put("raw", "a.zip", bytes(BLOCK + 1))
    reader = StoredZip("s3://raw/a.zip").open()
    assert reader.read_at(1, 0) == b"\0"
    store.put("raw", "a.zip", b"x" * (BLOCK + 1))
    for _ in range(2):  # what has failed once is not remembered
        with pytest.raises(MachineError, match=r"changed while reading s3://raw/a.zip; run again once it is complete"):
            reader.read_at(1, BLOCK)
    store.put("raw", "a.zip", bytes(BLOCK + 1))
    assert reader.read_at(1, BLOCK) == b"\0"


def test_an_answer_that_is_cut_short_is_asked_for_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("raw", "a.zip", b"content")
    really_read = StoredObject._read
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)

    def fail(times: int) -> None:
        left = iter(range(times))

        def read(reader: StoredObject, start: int, end: int) -> bytes:
            if next(left, None) is not None:
                raise ResponseStreamingError(error="connection reset")
            return really_read(reader, start, end)

        monkeypatch.setattr(StoredObject, "_read", read)

    fail(4)
    assert StoredZip("s3://raw/a.zip").open().read_at(7, 0) == b"content"
    assert waits == [1, 2, 4, 8]
    fail(5)
    with pytest.raises(MachineError, match=r"connection reset.* while reading s3://raw/a.zip; see that the store"):
        StoredZip("s3://raw/a.zip").open().read_at(7, 0)


class OddStore(ThreadingHTTPServer):
    """A store of one object, zeros, which answers in its own way when it is asked for a part."""

    size = 100
    etag = '"one"'
    daemon_threads = True

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, int, int], None]) -> None:
        """`answer` is given where the part begins and ends."""
        self.asked = self.connections = self.sent = 0
        odd = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                odd.connections += 1

            def do_HEAD(self) -> None:
                head(self, 200, {"Content-Length": odd.size, "ETag": odd.etag})

            def do_GET(self) -> None:
                odd.asked += 1
                first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                answer(self, int(first), int(last) + 1)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


def head(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, object]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, str(value))
    handler.end_headers()


def part(content_range: str, length: int, sent: int | None = None, **others: object) -> Any:
    """An answer of `length` zeros, of which `sent` are sent, as the part that `content_range` says (with `{first}` and
    `{last}` of what is asked for)."""

    def answer(handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
        given = content_range.format(first=start, last=end - 1)
        headers = {"Content-Range": given, "Content-Length": length, "ETag": OddStore.etag, **others}
        head(handler, 206, headers)
        handler.wfile.write(bytes(length if sent is None else sent))
        handler.close_connection = sent is not None

    return answer


def in_pieces(handler: BaseHTTPRequestHandler, start: int, end: int, surplus: int = 0) -> None:
    """Without saying how long it is."""
    head(handler, 206, {"Content-Range": f"bytes {start}-{end - 1}/*", "Transfer-Encoding": "chunked"})
    for _ in range(end - start + surplus):
        handler.wfile.write(b"1\r\n\0\r\n")
    handler.wfile.write(b"0\r\n\r\n")


def everything(handler: BaseHTTPRequestHandler, start: int, end: int) -> None:
    store = handler.server
    assert isinstance(store, OddStore)
    head(handler, 200, {"Content-Length": store.size, "ETag": store.etag})
    try:
        for _ in range(0, store.size, 1 << 20):
            store.sent += handler.wfile.write(bytes(min(1 << 20, store.size)))
    except ConnectionError:
        handler.close_connection = True


@pytest.fixture
def odd_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., OddStore]]:
    """Starts one with an `answer`, of which boto3 asks, in this process."""
    stores: list[OddStore] = []
    without_credentials(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    monkeypatch.setattr(object_store, "_BLOCK", 10)

    def start(answer: Callable[[BaseHTTPRequestHandler, int, int], None]) -> OddStore:
        stores.append(OddStore(answer))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{stores[-1].server_port}")
        object_store._client.cache_clear()
        return stores[-1]

    yield start
    object_store._client.cache_clear()
    for store in stores:
        store.close()


def test_parts_are_read_through_one_connection(odd_store: Callable[..., OddStore]) -> None:
    store = odd_store(part("bytes {first}-{last}/100", 10))
    assert StoredZip("s3://raw/a.zip").open().read_at(100, 0) == bytes(100)
    assert (store.asked, store.connections) == (10, 1)


@pytest.mark.parametrize("answer", [in_pieces, part("bytes {first}-{last}/*", 10, ETag="W/one")])
def test_answers_that_say_less_than_others_will_do(answer: Any, odd_store: Callable[..., OddStore]) -> None:
    odd_store(answer)
    assert StoredZip("s3://raw/a.zip").open().read_at(25, 0) == bytes(25)


def test_a_whole_object_will_do_where_it_was_asked_for(
    odd_store: Callable[..., OddStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "_BLOCK", 100)
    odd_store(everything)
    assert StoredZip("s3://raw/a.zip").open().read_at(100, 0) == bytes(100)


@pytest.mark.parametrize(
    ("answer", "said", "tries"),
    [
        (part("bytes 0-9/100", 10), "bytes 0-9/100 instead of bytes 50-59/100", 1),
        (part("bytes 50-79/100", 30), "bytes 50-79/100 instead of bytes 50-59/100", 1),
        (part("bytes {first}-{last}/99", 10), "bytes 50-59/99 instead of bytes 50-59/100", 1),
        (part("something", 10), "something instead of bytes 50-59/100", 1),
        (part("bytes {first}-{last}/100", 10, ETag='"two"'), 'those of ETag "two" instead of "one"', 1),
        (part("bytes {first}-{last}/100", 11), "more than 10 bytes from 50 on", 1),
        (functools.partial(in_pieces, surplus=5), "more than 10 bytes from 50 on", 1),
        (functools.partial(in_pieces, surplus=-5), "5 bytes instead of 10 from 50 on", 5),
        (part("bytes {first}-{last}/100", 9), "9 bytes instead of 10 from 50 on", 5),
        (part("bytes {first}-54/100", 5), "5 bytes instead of 10 from 50 on", 5),
        (part("bytes {first}-{last}/100", 0), "0 bytes instead of 10 from 50 on", 5),
        (everything, "all of them, with status 200", 1),
    ],
)
def test_other_bytes_than_were_asked_for_are_the_stores_fault(
    answer: Any, said: str, tries: int, odd_store: Callable[..., OddStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    store = odd_store(answer)
    with pytest.raises(MachineError) as error:
        StoredZip("s3://raw/a.zip").open().read_at(10, 50)
    assert str(error.value) == (
        f"the store of s3://raw/a.zip answers other bytes than asked for ({said}); see that it supports ranges, "
        "and run again"
    )
    assert (store.asked, waits) == (tries, [1, 2, 4, 8][: tries - 1])


def test_answers_that_are_cut_off_are_the_stores_fault(
    odd_store: Callable[..., OddStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    store = odd_store(part("bytes {first}-{last}/100", 10, sent=5))
    with pytest.raises(MachineError, match=r"while reading s3://raw/a\.zip; see that the store can be reached"):
        StoredZip("s3://raw/a.zip").open().read_at(10, 50)
    assert store.asked == 5


def test_a_store_that_sends_everything_is_not_listened_to(
    odd_store: Callable[..., OddStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OddStore, "size", 1 << 28)
    store = odd_store(everything)
    with pytest.raises(MachineError, match="all of them, with status 200"):
        StoredZip("s3://raw/a.zip").open().read_at(10, 50)
    store.close()
    assert store.sent < store.size // 2


def test_a_store_that_does_not_tell_the_etag_cannot_be_used(
    odd_store: Callable[..., OddStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_etag(handler: BaseHTTPRequestHandler) -> None:
        head(handler, 200, {"Content-Length": 100})

    store = odd_store(everything)
    monkeypatch.setattr(store.RequestHandlerClass, "do_HEAD", without_etag)
    with pytest.raises(MachineError, match=r"the store does not tell ETag and size of s3://raw/a\.zip; use another"):
        StoredZip("s3://raw/a.zip").fingerprint()


def test_what_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(MachineError, match=r"nothing there .* while asking for s3://raw/gone.zip; put it back"):
        StoredZip("s3://raw/gone.zip").open()
    with pytest.raises(MachineError, match=r"nothing there .*NoSuchBucket.* while searching s3://nowhere/x"):
        catalog.find_archives("s3://nowhere/x")
    with pytest.raises(CatalogError, match="no ZIP archive in s3://raw"):
        catalog.find_archives("s3://raw")


def test_without_credentials_it_says_which_are_missing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    object_store._client.cache_clear()
    with pytest.raises(MachineError, match="no credentials for searching s3://raw for archives; set AWS_ACCESS_KEY_ID"):
        catalog.find_archives("s3://raw")


def test_a_store_that_cannot_be_reached_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    object_store._client.cache_clear()
    with pytest.raises(MachineError, match=r"Could not connect .* while searching s3://raw .*; see that the store"):
        catalog.find_archives("s3://raw")


@pytest.mark.parametrize("code", ["AccessDenied", "403", "SignatureDoesNotMatch"])
def test_a_refusal_says_what_to_look_at(code: str) -> None:
    said = object_store._explain({"Code": code, "Message": ""}, "reading s3://raw/a.zip")
    assert said == (
        f"the store refuses reading s3://raw/a.zip ({code}); see that the credentials are right and give access, "
        "and run again"
    )


def test_files_are_put_listed_and_deleted(store: Store, tmp_path: Path) -> None:
    for name in ("a", "b", "c c"):
        (tmp_path / name).write_text(name)
        object_store.upload(tmp_path / name, f"s3://raw/to/{name}")
    store.put("raw", "together/a", b"")
    assert list(object_store.names("s3://raw/to")) == ["a", "b", "c c"]
    assert store.get("raw", "to/c c") == b"c c"
    object_store.delete("s3://raw/to/", ["a", "c c", "never there"])
    assert store.keys("raw") == ["to/b", "together/a"]


def test_what_cannot_be_deleted_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def delete_objects(self, **_: Any) -> dict[str, Any]:
            return {"Errors": [{"Key": "to/a", "Message": "Access Denied"}]}

    monkeypatch.setattr(object_store, "_client", Client)
    with pytest.raises(MachineError, match="to/a in s3://raw/to cannot be deleted: Access Denied"):
        object_store.delete("s3://raw/to", ["a"])
    monkeypatch.undo()
