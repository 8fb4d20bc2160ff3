"""The errors that stop a run. Each carries one sentence for the person at the terminal."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any


class ZipcropError(Exception):
    """An error that stops the run. Its sentence says what is wrong, with which file, and what to do."""


class ConfigError(ZipcropError):
    """A configuration that cannot be run."""


class CatalogError(ZipcropError):
    """Archives that cannot be told apart, or that Snakemake cannot carry."""


class ResultsError(ZipcropError):
    """Results of an archive that cannot be read."""

    def __init__(self, archive: str, what: str) -> None:
        """`what` names the file at fault and says what is wrong, such as "output/manifests/a.csv is empty"."""
        super().__init__(f"results of {archive} cannot be read: {what}; delete it and run again")
        self.what = what


class ModelError(ZipcropError):
    """Weights that cannot be fetched or used."""


class MachineError(ZipcropError):
    """A fault of the machine, not of the data: a full disk, a missing permission, an I/O error, a worker that cannot
    start. A rerun carries on once the cause is removed."""

    @classmethod
    def from_os_error(cls, error: OSError, doing: str) -> MachineError:
        """The error for `error`, which was raised while `doing`, such as "writing crops of images(1)"."""
        what = os.strerror(error.errno) if error.errno else str(error)
        where = f" ({error.filename})" if error.filename and str(error.filename) not in doing else ""
        advice = {
            errno.ENOSPC: "free some space and run again",
            errno.EDQUOT: "raise the quota or free some space, and run again",
            errno.EACCES: "give yourself access and run again",
            errno.EPERM: "give yourself access and run again",
            errno.ENOENT: "put it back and run again",
            errno.EROFS: "choose a writable folder and run again",
        }.get(error.errno or 0, "check the disk and run again")
        return cls(f"{what} while {doing}{where}; {advice}")


class EngineError(MachineError):
    """A fault of the engine, which may be in a process of its own."""

    def __init__(self, sentence: str, address: Any = None) -> None:
        """`address` is the `lease.Address` of the process."""
        super().__init__(sentence)
        self.address = address


class EngineGone(EngineError):
    """The engine process of a GPU has ended while a job needed it. Another one may be started."""


class EngineHangs(EngineError):
    """The engine has not answered for too long."""


class GPUUnusable(EngineError):
    """The engine process of a GPU cannot start: no network works there. The sentence has no advice yet, since another
    GPU or the CPU may do instead."""


class OutOfGPUMemory(Exception):
    """A GPU had too little memory for a batch; a smaller one may do."""


def one_line(text: str, most: int = 150) -> str:
    """`text` from a file or a library, for use in a sentence: its first line, of up to `most` characters, without those
    that a terminal would obey."""
    line = (text[: 10 * most].strip().splitlines() or [""])[0]
    shown = "".join(character if character.isprintable() else " " for character in line).strip()
    return shown if len(shown) <= most else shown[: most - 1] + "…"


@contextlib.contextmanager
def machine_faults(doing: str) -> Iterator[None]:
    """Turns each OSError of the `with` block into a MachineError that says what the block was `doing`."""
    try:
        yield
    except OSError as error:
        raise MachineError.from_os_error(error, doing) from None
