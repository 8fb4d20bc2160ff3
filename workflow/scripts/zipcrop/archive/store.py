"""Object stores that speak S3: the archives in them, read in ranges, and results that are uploaded.

Endpoint and credentials come from the environment, as boto3 finds them (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, …).
"""

from __future__ import annotations

import contextlib
import functools
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from zipcrop.errors import MachineError

_SCHEME = "s3://"
_CONNECTIONS = 32
_TRIES = 5
_BLOCK = 4 << 20
"""Bytes of a request. Members of an archive lie side by side and are read in turn, so that one request serves many."""
_MOST_BLOCKS = 16
_DELETED_AT_ONCE = 1000  # S3 takes no more
_NO_ACCESS = ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")  # RFC 9110, section 14.4


class _ShortAnswer(Exception):
    """A complete answer with fewer bytes than were asked for; the message says how many."""


_CUT_SHORT = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, _ShortAnswer)


@dataclass(frozen=True)
class ObjectState:
    """The `State` of an object, as the store tells it."""

    size: int
    etag: str
    """In the store's spelling, with quotes."""


class StoredZip:
    """A ZIP archive in a store: a `source.Source`."""

    def __init__(self, location: str, state: ObjectState | None = None) -> None:
        """`location` is a URL. Without a `state`, the store is asked for it."""
        self.location = location
        self._known = state

    def state(self) -> ObjectState:
        """See `source.Source`."""
        return self._known or _ask(self.location)

    def size(self) -> int:
        """See `source.Source`."""
        return self.state().size

    def fingerprint(self) -> str:
        """The ETag and the size. Raises MachineError where the store does not tell them."""
        state = self.state()
        return f"etag-{re.sub('[^0-9A-Za-z-]', '', state.etag)}-{state.size}"

    def why_unreadable(self) -> str:
        """See `source.Source`. Always empty, since a store that does not answer stops the run."""
        return ""

    def open(self, anew: bool = False) -> StoredObject:
        """See `source.Source`. Each opened object has a cache of its own, so it is always read anew."""
        return StoredObject(self.location, self.state())


class StoredObject:
    """A `Reader` of an object in one state: once that has changed, reading fails."""

    def __init__(self, url: str, state: ObjectState) -> None:
        """Reads the object at `url` while it is in `state`."""
        self.size = state.size
        self._url = url
        self._state = state
        self._lock = threading.Lock()
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()

    def read_at(self, length: int, offset: int) -> bytes:
        """See `Reader`."""
        end = min(offset + length, self.size)
        parts = []
        for number in range(offset // _BLOCK, -(-end // _BLOCK)):
            start = number * _BLOCK
            parts.append(self._block(number)[max(0, offset - start) : end - start])
        return b"".join(parts)

    def state(self) -> ObjectState:
        """See `Reader`. The store gives bytes of no other state."""
        return self._state

    def close(self) -> None:
        """See `Reader`."""
        with self._lock:
            self._blocks.clear()

    def _block(self, number: int) -> bytes:
        """The block of that number. The first thread that wants it fetches it, and the others wait."""
        with self._lock:
            known = self._blocks.get(number)
            block = self._blocks[number] = known or Future()
            self._blocks.move_to_end(number)
            if len(self._blocks) > _MOST_BLOCKS:
                self._blocks.popitem(last=False)
        if known is None:
            try:
                block.set_result(self._fetch(number * _BLOCK, min(self.size, (number + 1) * _BLOCK)))
            except BaseException as error:
                with self._lock:
                    self._blocks.pop(number, None)
                block.set_exception(error)
        return block.result()

    def _fetch(self, start: int, end: int) -> bytes:
        with _faults(f"reading {self._url}"):
            for wait in range(_TRIES - 1):
                with contextlib.suppress(*_CUT_SHORT):  # boto3 tries again only until an answer begins
                    return self._read(start, end)
                time.sleep(2**wait)
            try:
                return self._read(start, end)
            except _ShortAnswer as short:
                raise self._other_bytes(str(short)) from None

    def _read(self, start: int, end: int) -> bytes:
        """Asks once for the bytes from `start` to `end`. Raises MachineError if the store answers others, one of
        `_CUT_SHORT` if it answers fewer."""
        bucket, key = split(self._url)
        answer = _client().get_object(
            Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", IfMatch=self._state.etag
        )
        with contextlib.closing(answer["Body"]) as body:
            if other := self._difference(answer, start, end):
                raise self._other_bytes(other)
            data = b""
            # One byte more than there should be is enough to know that there are too many.
            while len(data) <= end - start and (more := body.read(end - start + 1 - len(data))):
                data += more
        if len(data) > end - start:
            raise self._other_bytes(f"more than {end - start} bytes from {start} on")
        if len(data) < end - start:
            raise _ShortAnswer(f"{len(data)} bytes instead of {end - start} from {start} on")
        return data

    def _difference(self, answer: dict[str, Any], start: int, end: int) -> str:
        """The difference between the headers of `answer` and the request, in words; empty if there is none."""
        etag = answer.get("ETag", self._state.etag)
        if _bare(etag) != _bare(self._state.etag):
            return f"those of ETag {etag} instead of {self._state.etag}"
        given = answer.get("ContentRange", "")
        if not given and (start, end) == (0, self.size):
            return ""  # the whole object was asked for, and its length is checked when it is read
        if not given:
            return f"all of them, with status {answer['ResponseMetadata']['HTTPStatusCode']}"
        match = _RANGE.fullmatch(given)
        # A range with an earlier end is an answer that is cut short.
        if match and int(match[1]) == start and int(match[2]) < end and match[3] in ("*", str(self.size)):
            return ""
        return f"{given} instead of bytes {start}-{end - 1}/{self.size}"

    def _other_bytes(self, what: str) -> MachineError:
        return MachineError(
            f"the store of {self._url} answers other bytes than asked for ({what}); see that it supports ranges, "
            "and run again"
        )


def find_zips(url: str) -> Iterator[tuple[str, StoredZip]]:
    """The objects below `url`, a bucket or a folder in one, that end in .zip in any letter case, by name below `url`.

    Takes a request for each thousand objects. Raises MachineError where the store does not answer.
    """
    bucket, prefix = _folder(url)
    for listed in _objects(bucket, prefix, f"searching {url} for archives"):
        key = listed["Key"]
        if key.lower().endswith(".zip"):
            state = ObjectState(listed["Size"], listed["ETag"])
            yield key[len(prefix) :], StoredZip(f"{_SCHEME}{bucket}/{key}", state)


def upload(file: Path, url: str) -> None:
    """Uploads `file` to `url`. Raises MachineError, or OSError where the file cannot be read."""
    bucket, key = split(url)
    with file.open("rb") as content, _faults(f"uploading {file} to {url}"):
        # The callers already use threads.
        _client().upload_fileobj(content, bucket, key, Config=TransferConfig(use_threads=False))


def names(url: str) -> Iterator[str]:
    """The names, below the folder `url`, of all objects in it. Raises MachineError."""
    bucket, prefix = _folder(url)
    for listed in _objects(bucket, prefix, f"listing {url}"):
        yield listed["Key"][len(prefix) :]


def delete(url: str, unwanted: Iterable[str]) -> None:
    """Deletes the objects called `unwanted` below the folder `url`, whether or not they are there. Raises
    MachineError."""
    bucket, prefix = _folder(url)
    objects = [{"Key": prefix + name} for name in unwanted]
    for at in range(0, len(objects), _DELETED_AT_ONCE):
        with _faults(f"deleting in {url}"):
            wanted = {"Objects": objects[at : at + _DELETED_AT_ONCE], "Quiet": True}
            errors = _client().delete_objects(Bucket=bucket, Delete=wanted).get("Errors")
        if errors:
            raise MachineError(f"{errors[0]['Key']} in {url} cannot be deleted: {errors[0]['Message']}; see to it")


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def split(url: str) -> tuple[str, str]:
    """The bucket and the key. A key may hold any character, so `url` is no URL in the strict sense."""
    bucket, _, key = url.removeprefix(_SCHEME).partition("/")
    return bucket, key


def _folder(url: str) -> tuple[str, str]:
    bucket, key = split(url)
    key = key.rstrip("/")
    return bucket, f"{key}/" if key else ""


def _objects(bucket: str, prefix: str, doing: str) -> Iterator[dict[str, Any]]:
    with _faults(doing):
        for page in _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield from page.get("Contents", ())


def _ask(url: str) -> ObjectState:
    bucket, key = split(url)
    with _faults(f"asking for {url}"):
        answer = _client().head_object(Bucket=bucket, Key=key)
    if "ETag" not in answer or "ContentLength" not in answer:
        raise MachineError(
            f"the store does not tell ETag and size of {url}; use another store, or a copy of the archive"
        )
    return ObjectState(answer["ContentLength"], answer["ETag"])


@functools.cache
def _client() -> Any:
    retries = {"mode": "standard", "total_max_attempts": _TRIES}
    # Checksums only where they are demanded: stores other than Amazon's may not know them (boto3#4435).
    checksums = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    return boto3.session.Session().client(
        "s3", config=Config(retries=retries, max_pool_connections=_CONNECTIONS, **checksums)
    )


@contextlib.contextmanager
def _faults(doing: str) -> Iterator[None]:
    """Turns boto3's exceptions in the `with` block into a MachineError that says what the block was `doing`."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError):
        raise MachineError(
            f"there are no credentials for {doing}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from None
    except ClientError as error:
        raise MachineError(f"{_explain(error.response['Error'], doing)}") from None
    except BotoCoreError as error:
        raise MachineError(f"{error} while {doing}; see that the store can be reached, and run again") from None


def _explain(error: dict[str, str], doing: str) -> str:
    code = error.get("Code", "")
    if code in _NO_ACCESS:
        return f"the store refuses {doing} ({code}); see that the credentials are right and give access, and run again"
    if code in ("404", "NoSuchKey", "NoSuchBucket"):
        return f"there is nothing there ({code}) while {doing}; put it back, or set another location, and run again"
    if code in ("412", "PreconditionFailed"):
        return f"the object changed while {doing}; run again once it is complete"
    return f"{error.get('Message') or code} ({code}) while {doing}; see that the store is well, and run again"
