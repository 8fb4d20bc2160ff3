"""Archives whose faults are confirmed: a fault counts only if a second reading, through another opening, finds it too.

A file that is copied over itself, or a disk that once gives zeros, must not leave a good photo `failed`, since nobody
would look at it again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from zipcrop.archive import source
from zipcrop.archive.reader import Archive, ArchiveError, Member, MemberError
from zipcrop.errors import MachineError

if TYPE_CHECKING:
    from zipcrop.archive.directory import State
    from zipcrop.archive.entry import Entry
    from zipcrop.settings import Limits


def check_state(location: str, state: State) -> None:
    """Raises MachineError if the archive at `location` is no longer in `state`, as `source.Source.state` gave it."""
    if source.at(location).state() != state:
        _raise_changed(location)


class ConfirmedArchive:
    """An open archive that reports a fault of its content only after a second reading has confirmed it. Threads may
    share it."""

    def __init__(self, location: str, limits: Limits, state: State, digest: str = "") -> None:
        """Opens the archive at `location`, a path or URL, which was in `state` when the job began. Its `digest` is
        known if it has been opened before.

        Raises ArchiveError if its content is at fault. This and all methods raise MachineError if the archive has
        changed, or gives other bytes when it is read again; OSError or MachineError if the machine is at fault.
        """
        self._location = location
        self._limits = limits
        self._state = state
        self._lock = threading.Lock()
        self._second: Archive | None = None
        try:
            self._first = Archive(location, limits)
        except ArchiveError as error:
            if digest or not _fails_alike(error, lambda: Archive(location, limits, anew=True).close()):
                self._raise_other_bytes()
            check_state(location, state)
            raise
        self._check(self._first, digest or self._first.digest)

    def __enter__(self) -> ConfirmedArchive:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes both openings."""
        self._first.close()
        if self._second:
            self._second.close()

    @property
    def digest(self) -> str:
        """See `Archive`."""
        return self._first.digest

    def members(self) -> list[Member]:
        """See `Archive`, but an archive that could be opened does not raise ArchiveError."""
        try:
            return self._first.members()
        except ArchiveError:
            self._raise_other_bytes()

    def entry(self, index: int) -> Entry:
        """See `Archive`."""
        try:
            return self._first.entry(index)
        except MemberError as error:
            self._confirm(error, index)
            raise

    def memory(self, entry: Entry) -> int:
        """See `Archive`."""
        return self._first.memory(entry)

    def read(self, entry: Entry) -> bytes:
        """See `Archive`."""
        try:
            return self._first.read(entry)
        except MemberError as error:
            self._confirm(error, entry.number)
            raise

    def opened_again(self) -> Archive:
        """The same archive through a second opening, which reuses nothing that was read before. It stays open, so that
        an archive full of damaged members does not have its directory read for each of them."""
        with self._lock:
            if self._second is None:
                try:
                    second = Archive(self._location, self._limits, anew=True)
                except ArchiveError:
                    self._raise_other_bytes()
                self._check(second, self.digest)
                self._second = second
            return self._second

    def _confirm(self, error: MemberError, index: int) -> None:
        """Returns if a second reading of the member at `index` ends in the same `error`; else raises MachineError."""
        again = self.opened_again()
        if not _fails_alike(error, lambda: again.read(again.entry(index))):
            self._raise_other_bytes(index)
        if again.state() != self._state:  # not the path's state: a store would be asked for each member
            _raise_changed(self._location)

    def _check(self, archive: Archive, digest: str) -> None:
        """Closes the `archive` and raises MachineError, unless it is in the state of the beginning and has that
        `digest`."""
        if archive.state() != self._state:
            archive.close()
            _raise_changed(self._location)
        if archive.digest != digest:
            archive.close()
            self._raise_other_bytes()

    def _raise_other_bytes(self, index: int | None = None) -> NoReturn:
        """Raises the MachineError for the archive, or its member at `index`, that has given different bytes: because it
        has changed, or for no known reason."""
        check_state(self._location, self._state)
        what = self._location if index is None else f"{self._name(index)} in {self._location}"
        raise MachineError(f"{what} gave other bytes when it was read again; check the disk, and run again")

    def _name(self, index: int) -> str:
        for archive in (self._first, self.opened_again()):
            with contextlib.suppress(MemberError):
                return repr(archive.entry(index).name)
        return f"member {index}"


def _fails_alike(error: Exception, again: Callable[[], object]) -> bool:
    """Whether `again` raises the same kind of error with the same message as `error`."""
    try:
        again()
    except (ArchiveError, MemberError) as second:
        return type(second) is type(error) and str(second) == str(error)
    return False


def _raise_changed(location: str) -> NoReturn:
    raise MachineError(f"{location} changed while it was being read; run again once it is complete")
