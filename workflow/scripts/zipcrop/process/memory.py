"""What the C library does with memory that is free again."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_KEPT = 1024**3
"""Bytes of one heap: more than photos of a worker hold at most times."""
_LARGEST_KEPT = 192 * 1024**2
"""Bytes of one block: the pixels of 64 megapixels. Larger ones go back to the kernel, since the gaps that they leave in
the heap would make an archive of the largest photos need up to 170 MB more."""
_OLD_LIMIT = 32 * 1024**2
"""Bytes: the highest threshold of mmap that older versions of glibc take."""


def keep_freed_memory() -> None:
    """Makes glibc keep freed blocks of up to 192 MiB for the next photo, in one heap for all threads. Does nothing with
    another C library. To be called before the process starts a thread.

    By default glibc gives blocks of a photo's size back to the kernel, which has to fill each page with zeros when the
    next photo takes it: a third of the processor's time at 12 megapixels. Threads would each have a heap of their own,
    in pieces of 64 MiB that go back to the kernel whatever the thresholds are, and keep what only another thread needs.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl has no mallopt, and bionic's is another one
        return
    library.mallopt(_M_TRIM_THRESHOLD, _KEPT)
    # It gives 0 if it refuses.
    if not library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT):
        library.mallopt(_M_MMAP_THRESHOLD, _OLD_LIMIT)
    library.mallopt(_M_ARENA_MAX, 1)
