"""The folder of compiled networks, which many processes share."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def cache(folder: Path) -> Iterator[dict[str, str]]:
    """OpenVINO's option to look in `folder` for what it is about to compile, and to keep there what it has compiled.

    OpenVINO keys it by its own version, the hardware and all options, and compiles anew what is damaged. But it has its
    cache for itself alone: it takes what another process is still writing for damaged and deletes it, of which the
    writer fails, and it maps files that another then truncates, of which the reader dies (SIGBUS; seen with 2026.4). So
    each process gets a folder of its own, with links to what is whole, and what is new is renamed into `folder` after.

    No option where `folder` cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        own = None
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            own = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True)))
            for blob in folder.glob("*.blob"):
                if os.access(blob, os.R_OK):
                    (own / blob.name).symlink_to(Path("..") / blob.name)
        if own is None:
            yield {}
            return
        yield {"CACHE_DIR": str(own)}
        for blob in own.glob("*.blob"):
            if not blob.is_symlink():
                with contextlib.suppress(OSError):  # the next one compiles it again
                    blob.replace(folder / blob.name)
