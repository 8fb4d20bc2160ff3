"""The folder of compiled networks, which many processes share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

# OpenVINO's name for it, and the SHA-256 of its content.
_KEPT = re.compile(r"(.+)\.([0-9a-f]{64})\.blob")


def folder(openvino: Path, threads: int) -> Path:
    """Where networks are that were compiled of the IR at `openvino` for `threads` cores. Those for other numbers of
    cores are elsewhere, since `remove_damaged` reads all that are here."""
    return openvino.parent / "cache" / str(threads)


@contextlib.contextmanager
def cache(folder: Path) -> Iterator[dict[str, str]]:
    """OpenVINO's option to look in `folder` for what it is about to compile, and to keep there what it has compiled.

    OpenVINO keys it by its own version, the hardware and all options, and compiles anew what is cut off. But it takes
    flipped bits for good, and it has its cache for itself alone: it takes what another process is still writing for
    damaged and deletes it, of which the writer fails, and it maps files that another then truncates, of which the
    reader dies (SIGBUS; seen with 2026.4). So each process gets a folder of its own, with links to what is whole, and
    what is new is renamed into `folder` after, with its hash in its name; see `remove_damaged`.

    No option where `folder` cannot be written to. Where the `with` block raises, nothing is kept.
    """
    with contextlib.ExitStack() as stack:
        own = None
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            own = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True)))
            for blob, key, _ in _kept(folder):
                # Of two for the same key, which processes have compiled at once, any will do.
                if os.access(blob, os.R_OK):
                    with contextlib.suppress(FileExistsError):
                        (own / f"{key}.blob").symlink_to(Path("..") / blob.name)
        if own is None:
            yield {}
            return
        yield {"CACHE_DIR": str(own)}
        for blob in own.glob("*.blob"):
            if not blob.is_symlink():
                with contextlib.suppress(OSError):  # the next one compiles it again
                    _keep(blob, folder)


def _keep(blob: Path, folder: Path) -> None:
    with blob.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    kept = folder / f"{blob.stem}.{digest}.blob"
    blob.replace(kept)
    for other, key, _ in _kept(folder):
        if key == blob.stem and other != kept:  # OpenVINO did not take it, or it was compiled at the same time
            other.unlink(missing_ok=True)


def _kept(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """The networks in `folder`, with OpenVINO's name and the hash of each."""
    for blob in sorted(folder.glob("*.blob")):
        if match := _KEPT.fullmatch(blob.name):
            yield blob, match[1], match[2]


def remove_damaged(folder: Path) -> int:
    """Removes the networks from `folder` that are not what was compiled, and says how many there were.

    To be called once per job, since it reads all of them (30 ms for yolov8s), and a job has many workers. These may
    have loaded one by then.
    """
    removed = 0
    for blob, _, digest in _kept(folder):
        if not os.access(blob, os.R_OK):  # nobody loads it
            continue
        with contextlib.suppress(FileNotFoundError):
            with blob.open("rb") as file:
                whole = hashlib.file_digest(file, "sha256").hexdigest() == digest
                read = os.fstat(file.fileno())
            # What a worker has compiled anew meanwhile stays.
            if not whole and os.path.samestat(read, blob.stat()):
                blob.unlink()
                removed += 1
    return removed
