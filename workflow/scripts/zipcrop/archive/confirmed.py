"""Archives whose faults are not believed at once: what cannot be read is read a second time, through another opening.

A file that is copied over itself, or a disk that once gives zeros, must not leave a good photo `failed`, since nobody
would look at it again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import NoReturn

from zipcrop.archive import source
from zipcrop.archive.directory import State
from zipcrop.archive.reader import Archive, ArchiveError, Limits, Member, MemberError, NotAnImage, UnsupportedMember
from zipcrop.errors import MachineError


def check_state(place: str, state: State) -> None:
    """Raises MachineError if the archive at `place` is no longer in `state`, as `source.Source.state` gave it."""
    if source.at(place).state() != state:
        _has_changed(place)


class ConfirmedArchive:
    """An open archive that says of content that it is at fault only where a second reading says so, too. `read` may be
    called by several threads at once."""

    def __init__(self, place: str, limits: Limits, state: State, digest: str = "") -> None:
        """Opens the archive at `place`, a path or URL, which was in `state` when the job began. If somebody has opened
        it before, its `digest` is known.

        Raises ArchiveError if its content is at fault, and, as all methods do, MachineError if it has changed or gives
        other bytes when it is read again, OSError or MachineError if the machine is at fault otherwise.
        """
        self._place = place
        self._limits = limits
        self._state = state
        self._lock = threading.Lock()
        self._second: Archive | None = None
        try:
            self._first = Archive(place, limits)
        except ArchiveError as error:
            if digest or not _fails_alike(error, lambda: Archive(place, limits, anew=True).close()):
                self._gave_other_bytes()
            check_state(place, state)
            raise
        self._check(self._first, digest or self._first.digest)

    def __enter__(self) -> ConfirmedArchive:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes what it reads from."""
        self._first.close()
        if self._second:
            self._second.close()

    @property
    def digest(self) -> str:
        """See `Archive`."""
        return self._first.digest

    def members(self) -> list[Member]:
        """See `Archive`, but what has been opened does not raise ArchiveError."""
        try:
            return self._first.members()
        except ArchiveError:
            self._gave_other_bytes()

    def memory(self, index: int) -> int:
        """See `Archive`."""
        return self._first.memory(index)

    def compressed_size(self, index: int) -> int:
        """See `Archive`."""
        return self._first.compressed_size(index)

    def read(self, index: int) -> bytes:
        """See `Archive`."""
        try:
            return self._first.read(index)
        except UnsupportedMember:
            raise  # all of it was there
        except MemberError as error:
            again = self.opened_again()
            if not _fails_alike(error, lambda: again.read(index)):
                self._gave_other_bytes(index)
            if again.state() != self._state:  # not of the path: a store would be asked for each member
                _has_changed(self._place)
            raise

    def opened_again(self) -> Archive:
        """The same archive through a second opening, from which nothing that was read before is remembered. It stays
        open: an archive of damaged members does not have its directory read for each of them."""
        with self._lock:
            if self._second is None:
                try:
                    second = Archive(self._place, self._limits, anew=True)
                except ArchiveError:
                    self._gave_other_bytes()
                self._check(second, self.digest)
                self._second = second
            return self._second

    def _check(self, archive: Archive, digest: str) -> None:
        """Closes the `archive`, and raises MachineError, if it is not in the state of the beginning or has not that
        `digest`."""
        if archive.state() != self._state:
            archive.close()
            _has_changed(self._place)
        if archive.digest != digest:
            archive.close()
            self._gave_other_bytes()

    def _gave_other_bytes(self, index: int | None = None) -> NoReturn:
        """Raises the MachineError that says so of the member at `index` or the archive, or that the archive has changed
        if that is why."""
        check_state(self._place, self._state)
        what = self._place if index is None else f"{self._name(index)} in {self._place}"
        raise MachineError(f"{what} gave other bytes when it was read again; check the disk, and run again")

    def _name(self, index: int) -> str:
        for archive in (self._first, self.opened_again()):
            with contextlib.suppress(ArchiveError):
                return repr(archive.name(index))
        return f"member {index}"


def _fails_alike(error: Exception, again: Callable[[], object]) -> bool:
    """Whether `again` raises what `error` is."""
    try:
        again()
    except (ArchiveError, MemberError, NotAnImage) as second:
        return type(second) is type(error) and str(second) == str(error)
    return False


def _has_changed(place: str) -> NoReturn:
    raise MachineError(f"{place} changed while it was being read; run again once it is complete")
