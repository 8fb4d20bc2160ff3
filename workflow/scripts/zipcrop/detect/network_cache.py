"""The folder of compiled networks, which many processes share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

# OpenVINO's name for the network, and the SHA-256 of the file.
_KEPT = re.compile(r"(.+)\.([0-9a-f]{64})\.blob")


def folder(openvino: Path, threads: int) -> Path:
    """The folder of the networks that were compiled from the IR at `openvino` for `threads` cores. Other numbers of
    cores have folders of their own, since `remove_damaged` reads a whole folder."""
    return openvino.parent / "cache" / str(threads)


@contextlib.contextmanager
def cache(folder: Path) -> Iterator[dict[str, str]]:
    """OpenVINO's option to take compiled networks from `folder`, and to keep new ones there.

    OpenVINO's keys hold its version, the hardware and all options, and it compiles a network anew if its file is cut
    off. But it does not notice flipped bits, and expects no other process in its cache: it takes a file that another
    process is still writing for damaged and deletes it, so that the writer fails, and it maps files that another
    process then truncates, so that the reader dies (SIGBUS; seen with 2026.4). Therefore each process gets a folder of
    its own, with links to the whole networks, and new ones are renamed into `folder` at the end of the `with` block,
    with their hashes in their names; see `remove_damaged`.

    Gives no option if `folder` cannot be written to. If the block raises, nothing is kept.
    """
    with contextlib.ExitStack() as stack:
        own = None
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            own = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True)))
            for blob, key, _ in _kept(folder):
                # Two processes may have compiled the same network at once: either will do.
                if os.access(blob, os.R_OK):
                    with contextlib.suppress(FileExistsError):
                        (own / f"{key}.blob").symlink_to(Path("..") / blob.name)
        if own is None:
            yield {}
            return
        yield {"CACHE_DIR": str(own)}
        for blob in own.glob("*.blob"):
            if not blob.is_symlink():
                with contextlib.suppress(OSError):  # the next process compiles it again
                    _keep(blob, folder)


def _keep(blob: Path, folder: Path) -> None:
    with blob.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    kept = folder / f"{blob.stem}.{digest}.blob"
    blob.replace(kept)
    for other, key, _ in _kept(folder):
        if key == blob.stem and other != kept:  # OpenVINO has refused it, or it was compiled at the same time
            other.unlink(missing_ok=True)


def _kept(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """The networks in `folder`, with OpenVINO's name and the hash of each."""
    for blob in sorted(folder.glob("*.blob")):
        if match := _KEPT.fullmatch(blob.name):
            yield blob, match[1], match[2]


def remove_damaged(folder: Path) -> int:
    """Removes the networks from `folder` whose content has changed since they were compiled, and gives their number.

    To be called once per job, which has many workers, since it reads all of them (30 ms for yolov8s). Workers may have
    loaded a damaged one by then.
    """
    removed = 0
    for blob, _, digest in _kept(folder):
        if not os.access(blob, os.R_OK):  # no process can load it
            continue
        with contextlib.suppress(FileNotFoundError):
            with blob.open("rb") as file:
                whole = hashlib.file_digest(file, "sha256").hexdigest() == digest
                read = os.fstat(file.fileno())
            # A network that a worker has compiled anew in the meantime stays.
            if not whole and os.path.samestat(read, blob.stat()):
                blob.unlink()
                removed += 1
    return removed
