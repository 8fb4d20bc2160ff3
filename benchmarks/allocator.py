"""What the C library does with memory that is free again, for benchmarks that decode."""

from __future__ import annotations

import ctypes
import importlib

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT = 1024**3


def keep_freed_memory() -> None:
    """Has this process keep freed blocks for the next photo, as workers do. With glibc only. To be called before the
    process starts a thread."""
    try:
        memory = importlib.import_module("zipcrop.process.memory")
    except ModuleNotFoundError:  # workers do not do it, but the limit is what they could reach
        library = ctypes.CDLL(None)
        if hasattr(library, "gnu_get_libc_version"):
            library.mallopt(_M_TRIM_THRESHOLD, _KEPT)
            library.mallopt(_M_MMAP_THRESHOLD, _KEPT)
    else:
        memory.keep_freed_memory()
