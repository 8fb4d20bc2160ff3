"""A file system in a file, and a copy of it as a power cut would leave it. Needs root and loop devices."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from faulty import UnavailableError

_SIZE = 128 << 20
# Seconds after which a file system that somebody still uses is no longer waited for.
_PATIENCE = 10


@contextlib.contextmanager
def new_disk(image: Path, folder: Path) -> Iterator[Disk]:
    """An empty ext4 file system in the file `image`, mounted as the new `folder` until the end of the `with` block.

    Raises UnavailableError where that cannot be done.
    """
    image.touch()
    os.truncate(image, _SIZE)
    try:
        _run("mkfs.ext4", "-q", "-F", image)
    except FileNotFoundError:
        raise UnavailableError("there is no mkfs.ext4: install e2fsprogs") from None
    with mounted(image, folder):
        (folder / "lost+found").rmdir()
        os.sync()
        yield Disk(image, folder)


@contextlib.contextmanager
def mounted(image: Path, folder: Path) -> Iterator[None]:
    """The file system in the file `image`, mounted as the new `folder` until the end of the `with` block. Raises
    UnavailableError where that cannot be done."""
    folder.mkdir(parents=True)
    try:
        # The journal is committed every second rather than every five: names are then often there before their bytes.
        _run("mount", "-t", "ext4", "-o", "loop,commit=1", image, folder)
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"a file cannot be mounted, which needs root and loop devices: {error.stdout}") from None
    try:
        yield
    finally:
        _unmount(folder)


def _unmount(folder: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(subprocess.CalledProcessError):
            _run("umount", folder)
            return
        time.sleep(0.1)
    # Lest it stay mounted for ever; its loop device goes with it, once nobody uses it any more.
    _run("umount", "--lazy", folder)
    raise AssertionError(f"somebody still uses {folder}")


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class Disk:
    """A file system that is mounted."""

    def __init__(self, image: Path, folder: Path) -> None:
        self._image = image
        device = folder.stat().st_dev
        self._statistics = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")

    def cut(self, target: Path) -> None:
        """Copies to the file `target` what a power cut would leave now: all that the file system has sent to its disk,
        and nothing that it still holds in memory."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            before = self._written()
            _run("cp", "--sparse=always", self._image, target)
            # Else the copy would be of several moments.
            if self._written() == before and before[1] == 0:
                return
        raise AssertionError(f"{self._image} was written to without a pause for {_PATIENCE} s")

    def _written(self) -> tuple[int, int]:
        """How many writes have ended, and how many requests have not yet (Linux, Documentation/block/stat.rst)."""
        fields = [int(field) for field in self._statistics.read_text().split()]
        return fields[4], fields[8]
