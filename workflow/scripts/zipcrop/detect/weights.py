"""Loads weights from a file: a detector that this program reads, or a sentence that says why it is none."""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

from zipcrop.detect import detector, restrict
from zipcrop.detect.restrict import message
from zipcrop.errors import ModelError, one_line
from zipcrop.process.confinement import confined

restrict.restrict_ultralytics()


from ultralytics.nn import tasks  # noqa: E402 - only after it is restricted


def load(path: Path, known_as: Path | None = None) -> torch.nn.Module:
    """The detector in the weights file at `path`, in f32 on the CPU. Messages call the file `known_as`, if given.

    Raises ModelError if the file is damaged, is not a detector whose output this program reads, or holds more than
    that. Nothing in it reaches the network, another process or the disk.
    """
    tasks.SAFE_LOAD = True  # it may have been imported before it was restricted
    shown = known_as or path
    with judged(shown, "cannot be loaded: the file is damaged or is not an ultralytics model"):
        detector.check_globals(torch.serialization.get_unsafe_globals_in_checkpoint(path), shown)
        with detector.without_constructors():
            model, _ = tasks.load_checkpoint(str(path))
        detector.check(model, shown)
    return model


@contextlib.contextmanager
def judged(shown: Path, what: str, *folders: Path) -> Iterator[None]:
    """Turns any exception of the `with` block into a ModelError that says `what` is wrong with the weights `shown`. The
    block is confined, and may write below `folders`."""
    failure: Exception | None = None
    with confined(*folders) as tried:
        try:
            yield
        except ModelError as error:
            failure = error
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            # To stdout, which ends in the log, too: on stderr there is the sentence alone.
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
            failure = ModelError(
                f"the weights {shown} {what} ({one_line(message(error))}); fetch or export them again, or use others"
            )
    if tried:
        failure = ModelError(
            f"the weights {shown} tried to {tried[0]}, which was refused; do not trust them, and use others"
        )
    if failure:
        raise failure from None
