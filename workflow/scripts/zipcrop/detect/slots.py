"""Slots: memory that a worker shares with the engine process of a GPU. Each holds one photo on its way there, and then
what the network says of it.

It is a file in memory without a name (memfd), so that nothing is left of it after any kill, and no limit on /dev/shm
holds for it. Pages that were never written take no memory.
"""

from __future__ import annotations

import fcntl
import mmap
import os

import numpy as np

from zipcrop.detect.protocol import MOST_SLOTS

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
"""The other side could not read a file that has become smaller without dying of SIGBUS."""


def slot_bytes(image_size: int) -> int:
    """Bytes from one slot to the next for letterboxes of up to `image_size` pixels on each side: more than the pixels
    take, and more than a prediction of a network whose least stride is 2."""
    page = mmap.PAGESIZE
    return -(-8 * image_size * image_size // page) * page


class Slots:
    """The slots of one worker."""

    def __init__(self, descriptor: int, count: int, size: int) -> None:
        """The slots in the file `descriptor`, which stays the caller's: `count` of them, of `size` bytes each.

        Raises ValueError if they are not there, or could go.
        """
        if not (0 < count <= MOST_SLOTS and 0 < size <= 1 << 34):
            raise ValueError("odd slots")
        try:
            sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
        except OSError:
            sealed = 0
        if not sealed or os.fstat(descriptor).st_size < count * size:
            raise ValueError("slots that could go")
        self.count = count
        self._size = size
        self._bytes = np.frombuffer(mmap.mmap(descriptor, count * size), np.uint8)

    def pixels(self, slot: int, height: int, width: int) -> np.ndarray:
        """The letterboxed photo in a slot, uint8 (height, width, 3) BGR; a view. Raises ValueError if it is larger than
        the slot."""
        return self._view(slot, height * width * 3).reshape(height, width, 3)

    def prediction(self, slot: int, anchors: int) -> np.ndarray:
        """What the network says of the photo in a slot, float32 (5, anchors); a view. Raises ValueError if it is larger
        than the slot."""
        return self._view(slot, anchors * 5 * 4).view(np.float32).reshape(5, anchors)

    def _view(self, slot: int, size: int) -> np.ndarray:
        if not (0 <= slot < self.count and 0 < size <= self._size):
            raise ValueError("larger than a slot")
        return self._bytes[slot * self._size : slot * self._size + size]


def create(count: int, size: int) -> tuple[Slots, int]:
    """New slots, and the descriptor of their file. Raises OSError."""
    descriptor = os.memfd_create("zipcrop", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, count * size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return Slots(descriptor, count, size), descriptor
    except BaseException:
        os.close(descriptor)
        raise
